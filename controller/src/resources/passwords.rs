//! Passwords of a Secret: users and the hashes of their passwords, as `htpasswd` writes them in one field, or in a field
//! for each user. What is no hash is not kept: a Secret may hold anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use genkan_routing::policy::basic_auth::{HashError, PasswordHash, Users};

/// The field that holds lines of htpasswd.
const FIELD: &str = "auth";

/// What a Secret says about passwords.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Passwords {
    /// Of the lines in the field `auth`; `None` where it is missing.
    pub file: Option<UserList>,
    /// Of the fields as users.
    pub map: UserList,
}

/// Users, and who can't be let in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UserList {
    /// Who can.
    pub users: Arc<Users>,
    /// Who can't, and why; lines that name nobody are named by their number.
    pub unusable: Vec<(String, HashError)>,
}

impl Passwords {
    /// Reads the fields of a Secret.
    pub(super) fn of(fields: &BTreeMap<&str, &[u8]>) -> Self {
        let text =
            |bytes: &[u8]| std::str::from_utf8(bytes).unwrap_or_default().trim_end_matches(['\r', '\n']).to_owned();
        let file = fields.get(FIELD).map(|bytes| UserList::of(lines(&text(bytes))));
        let map = UserList::of(fields.iter().map(|(user, hash)| ((*user).to_owned(), text(hash))));
        Self { file, map }
    }

    /// Takes over what is equal in `old`.
    pub(super) fn share(&mut self, old: &Self) {
        if self == old {
            self.clone_from(old);
        }
    }
}

impl UserList {
    fn of(entries: impl Iterator<Item = (String, String)>) -> Self {
        let mut unusable = Vec::new();
        let mut sound = |(user, hash): (String, String)| {
            let hash = PasswordHash::new(hash);
            match hash.scheme() {
                Ok(_) => Some((user, hash)),
                Err(error) => {
                    unusable.push((user, error));
                    None
                }
            }
        };
        let users = entries.filter_map(&mut sound).collect();
        Self { users: Arc::new(users), unusable }
    }
}

/// The users and hashes of lines; what comes behind a second colon is a comment, and so is a line that begins with `#`.
fn lines(text: &str) -> impl Iterator<Item = (String, String)> {
    let numbered = text.lines().map(str::trim).enumerate();
    numbered.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')).map(|(number, line)| {
        let mut parts = line.split(':');
        match (parts.next(), parts.next()) {
            (Some(user), Some(hash)) if !user.is_empty() => (user.to_owned(), hash.to_owned()),
            _ => (format!("line {}", number + 1), String::new()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";

    #[test]
    fn lines_of_htpasswd_are_users() {
        let text = format!("# staff\nada:{HASH}:a comment\r\n\nbob:rqXexS6ZhobKA\nrubbish\nada:{{PLAIN}}x\n");
        let passwords = Passwords::of(&BTreeMap::from([(FIELD, text.as_bytes())]));
        let file = passwords.file.unwrap();
        assert_eq!(file.users.hash("ada").unwrap().text(), HASH);
        let unusable: Vec<_> = file.unusable.iter().map(|(user, _)| user.as_str()).collect();
        assert_eq!(unusable, ["bob", "line 5"]);
        assert!(passwords.map.users.is_empty());
    }

    #[test]
    fn fields_are_users_where_they_hold_a_hash() {
        let fields = [("ada", HASH.as_bytes()), ("tls.key", b"-----BEGIN PRIVATE KEY-----"), ("bad", b"\xff")];
        let passwords = Passwords::of(&BTreeMap::from(fields));
        assert_eq!(passwords.file, None);
        assert!(passwords.map.users.hash("ada").is_some());
        assert_eq!(passwords.map.unusable.len(), 2);
        assert!(!format!("{passwords:?}").contains("PRIVATE"));
    }
}
