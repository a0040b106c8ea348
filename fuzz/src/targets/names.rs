//! Names and numbers that are checked once: of services, versions, instances and digests. What
//! is read prints as it was written, so that no two texts are one name.

use std::fmt::Display;

use rollway::store::Digest;
use rollway_core::ids::{InstanceId, ServiceName, Version};

use super::{equal, survives_json};
use crate::{Marks, Target};

/// The target.
pub static TARGET: Target = Target {
    name: "names",
    about: "service, version, instance and digest: printed as written, harmless in a path",
    words: &[
        "shop",
        "r3-0",
        "r18446744073709551615-4294967295",
        "r+3-0",
        "r03-0",
        "-",
        "..",
        "/",
        "v1",
        "sha256:",
        "0123456789abcdef",
        "é",
        "\0",
        "\n",
        " ",
        "%2e",
        "@",
        ":",
    ],
    bytes_max: 256,
    check,
};

fn check(input: &[u8], marks: &mut Marks) -> Result<(), String> {
    let text = String::from_utf8_lossy(input);
    if let Some(name) = read("service", ServiceName::parse(&text), &text, marks)? {
        survives_json(&name)?;
        if name.as_str().contains(['/', '.', '\0', ' ']) {
            return Err("a service's name that is more than one part of a path".to_owned());
        }
    }
    if let Some(version) = read("version", Version::parse(&text), &text, marks)? {
        survives_json(&version)?;
        if version.as_str().starts_with(['-', '/', '.']) {
            return Err("a version that looks like an option or a path".to_owned());
        }
    }
    if let Some(instance) = read("instance", InstanceId::parse(&text), &text, marks)? {
        survives_json(&instance)?;
    }
    if let Some(digest) = read("digest", Digest::parse(&text), &text, marks)? {
        survives_json(&digest)?;
    }
    Ok(())
}

fn read<T: Display>(
    kind: &str,
    read: Result<T, String>,
    text: &str,
    marks: &mut Marks,
) -> Result<Option<T>, String> {
    marks.mark((kind, read.is_ok(), text.len()));
    match read {
        Ok(read) => {
            equal(&format!("a {kind} prints as written"), &read.to_string().as_str(), &text)?;
            Ok(Some(read))
        }
        Err(what) if what.is_empty() => Err(format!("a {kind} is refused without a word")),
        Err(_) => Ok(None),
    }
}
