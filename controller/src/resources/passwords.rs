//! Passwords of a Secret: users and the hashes of their passwords, as `htpasswd` writes them in one field, or in a field
//! for each user. What is no hash is not kept: a Secret may hold anything.

use std::borrow::Cow;
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
    /// What lets nobody in.
    pub unusable: Vec<Unusable>,
}

/// What lets nobody in. Where it stands and not whom it names: who may read what is told of a Secret may not read the
/// Secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unusable {
    /// The number of the line, in the field `auth`.
    pub line: Option<usize>,
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// Why something lets nobody in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Flaw {
    /// There is no colon, or nothing before it.
    #[error("what is written is no user, colon and hash")]
    NoUser,
    /// The hash.
    #[error("the password's hash {0}")]
    Hash(HashError),
}

/// The most lines of one flaw that are told.
const MOST_LINES: usize = 5;

impl Passwords {
    /// Reads the fields of a Secret. One with a certificate is for more than passwords: of it only lines are read.
    pub(super) fn of(fields: &BTreeMap<&str, &[u8]>, lines_only: bool) -> Self {
        let file = fields.get(FIELD).map(|bytes| UserList::of(lines(bytes)));
        let fields = fields.iter().filter(|_| !lines_only);
        let hash = |bytes: &[u8]| text(bytes).trim_end_matches(['\r', '\n']).to_owned();
        let entry = |(user, bytes): (&&str, &&[u8])| (None, Some(((*user).to_owned(), hash(bytes))));
        let map = UserList::of(fields.map(entry));
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
    fn of(entries: impl Iterator<Item = (Option<usize>, Option<(String, String)>)>) -> Self {
        let mut unusable = Vec::new();
        let users = entries.filter_map(|(line, entry)| {
            let sound = entry.ok_or(Flaw::NoUser).and_then(|(user, hash)| {
                if hash.contains(char::REPLACEMENT_CHARACTER) {
                    return Err(Flaw::Hash(HashError::Malformed));
                }
                let hash = PasswordHash::new(hash);
                hash.scheme().map_err(Flaw::Hash).map(|_| (user, hash))
            });
            sound.map_err(|flaw| unusable.push(Unusable { line, flaw })).ok()
        });
        let users = Arc::new(users.collect());
        Self { users, unusable }
    }

    /// What to say about who can't be let in.
    pub fn complaints(&self) -> Vec<String> {
        let mut flaws: Vec<(Flaw, Vec<Option<usize>>)> = Vec::new();
        for Unusable { line, flaw } in &self.unusable {
            match flaws.iter_mut().find(|(known, _)| known == flaw) {
                Some((_, lines)) => lines.push(*line),
                None => flaws.push((*flaw, vec![*line])),
            }
        }
        let tell = |(flaw, lines): (Flaw, Vec<Option<usize>>)| {
            let named: Vec<_> = lines.iter().flatten().take(MOST_LINES).map(usize::to_string).collect();
            match (named.len(), lines.len()) {
                (0, all) => format!("{all} of its fields let nobody in: {flaw}"),
                (1, 1) => format!("line {} lets nobody in: {flaw}", named.concat()),
                (told, all) if told < all => format!("{all} lines ({}, ...) let nobody in: {flaw}", named.join(", ")),
                _ => format!("lines {} let nobody in: {flaw}", named.join(", ")),
            }
        };
        let mut complaints: Vec<_> = flaws.into_iter().map(tell).collect();
        if self.users.is_empty() {
            complaints.push("it has no user who could get in".to_owned());
        }
        complaints
    }
}

/// The users and hashes of lines, with their numbers; what comes behind a second colon is a comment, and so is a line that
/// begins with `#`.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (Option<usize>, Option<(String, String)>)> {
    let numbered = bytes.split(|byte| *byte == b'\n').map(text).enumerate();
    let is_comment = |line: &str| line.is_empty() || line.starts_with('#');
    numbered.filter(move |(_, line)| !is_comment(line.trim())).map(|(number, line)| {
        let mut parts = line.trim().split(':');
        let entry = match (parts.next(), parts.next()) {
            (Some(user), Some(hash)) if !user.is_empty() => Some((user.to_owned(), hash.to_owned())),
            _ => None,
        };
        (Some(number + 1), entry)
    })
}

/// A byte that is no UTF-8, as in a comment of long ago, spoils nothing but its own place.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "$apr1$abcdefgh$h9FWgUz3n9YxylKLlR5SQ/";

    fn file(text: &[u8]) -> UserList {
        Passwords::of(&BTreeMap::from([(FIELD, text)]), false).file.unwrap()
    }

    #[test]
    fn lines_of_htpasswd_are_users() {
        let text = format!("# staff\nada:{HASH}:a comment\r\n\nbob:rqXexS6ZhobKA\nrubbish\nada:{{PLAIN}}x\n");
        let file = file(text.as_bytes());
        assert_eq!(file.users.hash("ada").unwrap().text(), HASH);
        let unusable: Vec<_> = file.unusable.iter().map(|unusable| (unusable.line, unusable.flaw)).collect();
        assert_eq!(unusable, [(Some(4), Flaw::Hash(HashError::Unknown)), (Some(5), Flaw::NoUser)]);
    }

    #[test]
    fn what_is_no_utf8_spoils_nothing_else() {
        let text = [b"# caf\xe9\nada:", HASH.as_bytes(), b":J\xfcrgen\nbob:", HASH.as_bytes()].concat();
        let file = file(&text);
        assert!(file.users.hash("ada").is_some() && file.users.hash("bob").is_some());
        assert!(file.complaints().is_empty());
        assert!(super::tests::file(b"ada:{PLAIN}caf\xe9\n").users.is_empty(), "it would be another password");
    }

    #[test]
    fn fields_are_users_where_they_hold_a_hash() {
        let fields = [("ada", HASH.as_bytes()), ("tls.key", b"-----BEGIN PRIVATE KEY-----"), ("bad", b"\xff")];
        let passwords = Passwords::of(&BTreeMap::from(fields), false);
        assert_eq!(passwords.file, None);
        assert!(passwords.map.users.hash("ada").is_some());
        assert_eq!(passwords.map.unusable.len(), 2);
        let shared = Passwords::of(&BTreeMap::from([("ada", HASH.as_bytes()), (FIELD, b"ada:{PLAIN}x")]), true);
        assert!(shared.map.users.is_empty() && shared.file.unwrap().users.hash("ada").is_some());
    }

    #[test]
    fn what_lets_nobody_in_is_told_without_names() {
        let told = |text: &str| file(text.as_bytes()).complaints();
        let unknown = Flaw::Hash(HashError::Unknown).to_string();
        assert_eq!(told(""), ["it has no user who could get in"]);
        let text = format!("ada:{HASH}\nbob:x\nrubbish\neve:y\n");
        let no_user = Flaw::NoUser;
        assert_eq!(
            told(&text),
            [format!("lines 2, 4 let nobody in: {unknown}"), format!("line 3 lets nobody in: {no_user}")]
        );
        let many = format!("ada:{HASH}\n{}", "bob:x\n".repeat(9));
        assert_eq!(told(&many), [format!("9 lines (2, 3, 4, 5, 6, ...) let nobody in: {unknown}")]);
        let map = Passwords::of(&BTreeMap::from([("ada", HASH.as_bytes()), ("bob", b"x")]), false).map;
        assert_eq!(map.complaints(), [format!("1 of its fields let nobody in: {unknown}")]);
    }
}
