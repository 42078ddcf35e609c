//! The environment of a new process: what every login has, the machine's, and the request's, laid over one another.

use std::collections::BTreeMap;
use std::ffi::CString;

use crate::users::User;

pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

pub type Variables = Vec<(String, String)>;

/// The machine's variables win over the defaults, the request's over both.
pub fn build(
    user: &User,
    tty: bool,
    machine: &[(String, String)],
    own: &[(String, String)],
) -> BTreeMap<String, String> {
    let home = if user.uid == 0 && user.home == "/" {
        "/root"
    } else {
        &user.home
    };
    let mut all = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        all.insert(name.to_owned(), value.to_owned());
    };
    set("PATH", PATH);
    set("HOME", home);
    set("USER", &user.name);
    set("LOGNAME", &user.name);
    set("SHELL", &user.shell);
    if tty {
        set("TERM", "xterm-256color");
    }
    for (name, value) in machine.iter().chain(own) {
        set(name, value);
    }
    all
}

/// `NAME=value` for the kernel. Names and values were checked for zero bytes when they came in.
pub fn strings(variables: &BTreeMap<String, String>) -> Vec<CString> {
    variables
        .iter()
        .filter_map(|(name, value)| CString::new(format!("{name}={value}")).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        User {
            uid: 1,
            gid: 1,
            groups: vec![],
            name: "app".into(),
            home: "/home/app".into(),
            shell: "/bin/zsh".into(),
        }
    }

    fn pairs(list: &[(&str, &str)]) -> Variables {
        list.iter()
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect()
    }

    #[test]
    fn a_login_has_what_it_expects() {
        let all = build(&user(), false, &[], &[]);
        let expected = [
            ("HOME", "/home/app"),
            ("LOGNAME", "app"),
            ("PATH", PATH),
            ("SHELL", "/bin/zsh"),
            ("USER", "app"),
        ];
        assert_eq!(all.into_iter().collect::<Variables>(), pairs(&expected));
    }

    #[test]
    fn the_request_wins_over_the_machine_and_the_machine_over_the_defaults() {
        let all = build(
            &user(),
            true,
            &pairs(&[("A", "1"), ("B", "1"), ("HOME", "/m")]),
            &pairs(&[("B", "2"), ("PATH", "")]),
        );
        assert_eq!(all["A"], "1");
        assert_eq!(all["B"], "2");
        assert_eq!(all["HOME"], "/m");
        assert_eq!(all["PATH"], "");
        assert_eq!(all["TERM"], "xterm-256color");
    }

    #[test]
    fn the_kernel_gets_names_and_values_in_one_string() {
        let all = BTreeMap::from([("A".to_owned(), "x=y".to_owned())]);
        assert_eq!(strings(&all), [CString::new("A=x=y").unwrap()]);
    }
}
