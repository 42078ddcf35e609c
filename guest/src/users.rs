//! Who a process runs as, from /etc/passwd and /etc/group read by ourselves: a static binary has no NSS to ask.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::failure::{Code, Failure, Outcome};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub name: String,
    pub home: String,
    pub shell: String,
}

/// A file's text, read again only when the file has changed.
struct Cached {
    path: &'static str,
    stamp: (u64, u64, i64, i64, u64),
    text: String,
}

impl Cached {
    fn new(path: &'static str) -> Cached {
        Cached {
            path,
            stamp: Default::default(),
            text: String::new(),
        }
    }

    fn text(&mut self) -> &str {
        let stamp = fs::metadata(self.path).map_or(Default::default(), |found| {
            (
                found.dev(),
                found.ino(),
                found.mtime(),
                found.mtime_nsec(),
                found.size(),
            )
        });
        if stamp != self.stamp {
            let bytes = fs::read(self.path).unwrap_or_default();
            self.text = String::from_utf8_lossy(&bytes).into_owned();
            self.stamp = stamp;
        }
        &self.text
    }
}

pub struct Users {
    passwd: Cached,
    group: Cached,
}

impl Users {
    pub fn new() -> Users {
        Users {
            passwd: Cached::new("/etc/passwd"),
            group: Cached::new("/etc/group"),
        }
    }

    /// `name`, `uid`, `name:group` or `uid:gid`; `None` is whoever the agent is: root in a guest.
    pub fn find(&mut self, wanted: Option<&str>) -> Outcome<User> {
        match wanted {
            // SAFETY: geteuid cannot fail.
            None => find(
                self.passwd.text(),
                self.group.text(),
                &unsafe { libc::geteuid() }.to_string(),
            ),
            Some(wanted) => find(self.passwd.text(), self.group.text(), wanted),
        }
    }
}

/// Whom a file is to belong to; `None` leaves it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ownership {
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

/// `user`, `user:group` or `:group`, by name or number, as chown takes them.
pub fn ownership(wanted: &str) -> Outcome<Ownership> {
    let (mut passwd, mut group) = (Cached::new("/etc/passwd"), Cached::new("/etc/group"));
    owners(passwd.text(), group.text(), wanted)
}

fn owners(passwd: &str, group: &str, wanted: &str) -> Outcome<Ownership> {
    if let Some(name) = wanted.strip_prefix(':').filter(|name| !name.is_empty()) {
        let gid = Some(group_number(group, name)?);
        return Ok(Ownership { uid: None, gid });
    }
    let user = find(passwd, group, wanted)?;
    Ok(Ownership {
        uid: Some(user.uid),
        gid: wanted.contains(':').then_some(user.gid),
    })
}

fn group_number(group: &str, name: &str) -> Outcome<u32> {
    entry(group, name, 2)
        .and_then(|fields| fields.get(2).copied().and_then(number))
        .or_else(|| number(name))
        .ok_or_else(|| unknown(&format!("group '{name}'")))
}

fn unknown(what: &str) -> Failure {
    Failure::new(Code::UnknownUser, format!("there is no {what} in the machine"))
}

fn find(passwd: &str, group: &str, wanted: &str) -> Outcome<User> {
    let (name, group_name) = match wanted.split_once(':') {
        Some((name, group_name)) => (name, Some(group_name)),
        None => (wanted, None),
    };
    let mut user = entry(passwd, name, 2)
        .and_then(|fields| account(&fields))
        .or_else(|| number(name).map(|uid| stranger(passwd, uid)))
        .ok_or_else(|| unknown(&format!("user '{name}'")))?;
    user.groups = memberships(group, &user);
    if let Some(group_name) = group_name {
        user.gid = group_number(group, group_name)?;
    }
    Ok(user)
}

/// The entry whose name is `wanted`; failing that, the one whose number it is.
fn entry<'a>(text: &'a str, wanted: &str, number_at: usize) -> Option<Vec<&'a str>> {
    let fields = || text.lines().map(|line| line.split(':').collect::<Vec<&str>>());
    fields()
        .find(|fields| fields[0] == wanted && !wanted.is_empty())
        .or_else(|| {
            let wanted = number(wanted)?;
            fields().find(|fields| fields.get(number_at).copied().and_then(number) == Some(wanted))
        })
}

fn account(fields: &[&str]) -> Option<User> {
    let [name, _, uid, gid, _, home, rest @ ..] = fields else {
        return None;
    };
    let or = |text: &str, otherwise: &str| if text.is_empty() { otherwise } else { text }.to_owned();
    Some(User {
        uid: number(uid)?,
        gid: number(gid)?,
        groups: Vec::new(),
        name: (*name).to_owned(),
        home: or(home, "/"),
        shell: or(rest.first().copied().unwrap_or(""), "/bin/sh"),
    })
}

/// A number without an account is somebody too, as in a container: group 0, or the group of the same account's entry.
fn stranger(passwd: &str, uid: u32) -> User {
    let text = uid.to_string();
    entry(passwd, &text, 2)
        .and_then(|fields| account(&fields))
        .unwrap_or(User {
            uid,
            gid: 0,
            groups: Vec::new(),
            name: text,
            home: "/".to_owned(),
            shell: "/bin/sh".to_owned(),
        })
}

fn memberships(group: &str, user: &User) -> Vec<u32> {
    let lines = group.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [_, _, gid, members, ..] = fields[..] else {
            return None;
        };
        members
            .split(',')
            .any(|member| member == user.name)
            .then(|| number(gid))
            .flatten()
    });
    // The kernel takes 65536 groups; nobody has them.
    lines.take(1024).collect()
}

/// A uid or gid; the largest means "unchanged" to the kernel and is nobody's.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|&value| digits && value != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        broken line\n\
        short:x:5\n\
        app:x:1000:1001:App,,,:/home/app:/bin/zsh\n\
        bare:x:1002:1002:::\n\
        bad:x:many:1:::\n\
        7:x:77:77::/seven:/bin/sh\n";
    const GROUP: &str =
        "root:x:0:\nwheel:x:10:root,app\nbroken\ndocker:x:999:app\napp:x:1001:\nother:x:5:apple,bob\nbad:x:x:app\n";

    #[test]
    fn a_name_gives_its_account_and_groups() {
        let user = find(PASSWD, GROUP, "app").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (1000, 1001, vec![10, 999]));
        assert_eq!((user.home.as_str(), user.shell.as_str()), ("/home/app", "/bin/zsh"));
    }

    #[test]
    fn a_uid_finds_the_account_too() {
        assert_eq!(find(PASSWD, GROUP, "1000").unwrap().name, "app");
        assert_eq!(
            find(PASSWD, GROUP, "7").unwrap().uid,
            77,
            "a name of digits is a name first"
        );
    }

    #[test]
    fn a_uid_without_account_is_allowed() {
        let user = find(PASSWD, GROUP, "4242:55").unwrap();
        assert_eq!(
            (user.uid, user.gid, user.home.as_str(), user.name.as_str()),
            (4242, 55, "/", "4242")
        );
    }

    #[test]
    fn a_group_is_taken_by_name_or_number() {
        assert_eq!(find(PASSWD, GROUP, "app:wheel").unwrap().gid, 10);
        assert_eq!(find(PASSWD, GROUP, "app:4321").unwrap().gid, 4321);
    }

    #[test]
    fn a_file_is_given_as_chown_gives_it() {
        let owners = |wanted| owners(PASSWD, GROUP, wanted).map(|owner| (owner.uid, owner.gid));
        assert_eq!(owners("app"), Ok((Some(1000), None)));
        assert_eq!(owners("app:wheel"), Ok((Some(1000), Some(10))));
        assert_eq!(owners(":wheel"), Ok((None, Some(10))));
        assert_eq!(owners("4242:4343"), Ok((Some(4242), Some(4343))));
        assert!(
            ["", ":", "app:", "nobody", ":nogroup", "app:wheel:"]
                .iter()
                .all(|wanted| owners(wanted).is_err())
        );
    }

    #[test]
    fn empty_fields_have_defaults() {
        let user = find(PASSWD, GROUP, "bare").unwrap();
        assert_eq!((user.home.as_str(), user.shell.as_str()), ("/", "/bin/sh"));
    }

    #[test]
    fn unknown_names_are_told() {
        for wanted in [
            "nobody",
            "",
            ":",
            "app:nogroup",
            "bad",
            "short",
            "-1",
            "4294967295",
            "99999999999",
        ] {
            assert_eq!(
                find(PASSWD, GROUP, wanted).unwrap_err().code,
                Code::UnknownUser,
                "{wanted}"
            );
        }
    }

    #[test]
    fn without_any_passwd_root_is_still_root() {
        let user = find("", "", "0").unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_str()), (0, 0, "/"));
    }
}
