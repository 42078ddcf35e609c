//! Shell patterns for names: `*`, `?`, `[a-z]`, `[!a-z]`. There is no escape; a `[` that is not closed is itself.

/// Whether the whole name matches. Takes at most the product of both lengths: only the last `*` is tried again.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut at, mut here) = (0, 0);
    // Where to go on when it does not fit: behind the last star, one character later than the last time.
    let mut again: Option<(usize, usize)> = None;
    while here < name.len() {
        if pattern.get(at) == Some(&'*') {
            at += 1;
            again = Some((at, here));
        } else if let Some(next) = one(&pattern, at, name[here]) {
            (at, here) = (next, here + 1);
        } else if let Some((star, from)) = again {
            (at, here) = (star, from + 1);
            again = Some((star, from + 1));
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|&rest| rest == '*')
}

/// Where the pattern goes on if what is at `at` takes this character.
fn one(pattern: &[char], at: usize, character: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => Some(at + 1),
        '[' => match set(pattern, at) {
            Some((negated, members, next)) => (holds(members, character) != negated).then_some(next),
            None => (character == '[').then_some(at + 1),
        },
        literal => (literal == character).then_some(at + 1),
    }
}

/// A set in brackets: whether it is negated, what is in it, and where the pattern goes on. A `]` that is first is a member.
fn set(pattern: &[char], at: usize) -> Option<(bool, &[char], usize)> {
    let negated = pattern.get(at + 1) == Some(&'!');
    let first = at + 1 + usize::from(negated);
    let length = pattern.get(first + 1..)?.iter().position(|&end| end == ']')? + 1;
    Some((negated, &pattern[first..first + length], first + length + 1))
}

fn holds(members: &[char], character: char) -> bool {
    let mut rest = members;
    while let Some((&low, after)) = rest.split_first() {
        if let ['-', high, beyond @ ..] = after {
            if (low..=*high).contains(&character) {
                return true;
            }
            rest = beyond;
        } else if low == character {
            return true;
        } else {
            rest = after;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_as_a_shells_does() {
        for (pattern, name, wanted) in [
            ("*.py", "a.py", true),
            ("*.py", ".py", true),
            ("*.py", "a.pyc", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a?c", "abc", true),
            ("a?c", "aéc", true),
            ("a?c", "ac", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[!a-c]x", "dx", true),
            ("[]]", "]", true),
            ("[a-]", "-", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("a[", "a[", true),
            ("*a*b*c", "xxaxxbxxc", true),
            ("*a*b*c", "xxaxxbxx", false),
            ("a**", "a", true),
        ] {
            assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        assert!(!matches(&"*a".repeat(200), &"a".repeat(199).replace("aa", "ab")));
        assert!(!matches(&format!("{}b", "*a".repeat(100)), &"a".repeat(255)));
    }
}
