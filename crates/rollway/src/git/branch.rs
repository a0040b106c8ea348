//! Names of branches.

use crate::failure::{Failure, FailureKind};

/// A branch name that can be put into a refspec.
pub fn branch(name: &str) -> Result<&str, Failure> {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"~^:?*[\\".contains(c);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    let fits = name.chars().all(plain)
        && name.split('/').all(part)
        && !name.starts_with('-')
        && !name.ends_with('.')
        && !name.contains("..")
        && !name.contains("@{")
        && name != "@";
    if fits {
        return Ok(name);
    }
    Err(Failure::new(FailureKind::NotDone, format!("{name:?} is no valid branch name")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_are_names_and_nothing_else() {
        for good in ["main", "release/1.0", "a-b_c.d"] {
            assert!(branch(good).is_ok(), "{good}");
        }
        let bad = [
            "",
            "-x",
            "--upload-pack=x",
            "a b",
            "a..b",
            "a:b",
            "x/.y",
            "x.lock",
            "a//b",
            "@",
            "a^",
        ];
        for bad in bad {
            assert!(branch(bad).is_err(), "{bad}");
        }
    }
}
