//! Users: those of a Secret that something names for basic authentication.

use crate::resources::{NamespacedName, UserList};

use super::reader::Reader;

/// The users of a Secret: those in the lines of its key `auth`, or with `map` its keys. Else what is wrong, and the mend.
pub(crate) fn find<'a>(
    secret: &NamespacedName,
    map: bool,
    reader: &Reader<'a>,
) -> Result<&'a UserList, (String, &'static str)> {
    let Some(found) = reader.secret(secret) else {
        return Err((format!("Secret {secret} does not exist"), "create it, or name another"));
    };
    if map {
        return Ok(&found.passwords.map);
    }
    let missing = || (format!("Secret {secret} has no auth"), "put lines of htpasswd under the key auth");
    found.passwords.file.as_ref().ok_or_else(missing)
}
