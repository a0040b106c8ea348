//! Documents at the limits of what is read: each takes a bounded time of the thread that reads it,
//! which a busy machine does not change.

use rollway_fuzz::judge::judge;
use rollway_fuzz::{Marks, target};

/// The largest document that is read, in bytes.
const LARGEST: usize = 1 << 20;

fn documents() -> Vec<String> {
    let deep = 100_000;
    let mut all = vec![
        "[".repeat(deep),
        "- ".repeat(deep),
        "? ".repeat(deep),
        "{a: ".repeat(70),
        "{\"a\":".repeat(deep),
        format!("{}1", "a.".repeat(deep)),
        (0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect(),
        format!("[{}]", "1,".repeat(400_000)),
        "a: 1\n".repeat(100_000),
        "a = 1\n".repeat(100_000),
        (0..20_000).map(|n| format!("k{n}: 1\n")).collect(),
        format!("[{}]", "é,".repeat(40_000)),
        "health: [{http: {body: '(a{1000}){1000}'}}]".to_owned(),
    ];
    let pieces = ["\r", "é", "#", " ", "\t", "'", "\"", "|", ">", "&a ", "*a ", "%a\n", "\\", "🚀"];
    all.extend(pieces.map(|piece| format!("a: {}", piece.repeat(LARGEST / piece.len() - 3))));
    all
}

#[test]
fn the_largest_documents_take_bounded_time() {
    for name in ["spec_yaml", "spec_toml", "spec_json"] {
        let target = target(name).expect("it is in the list");
        for document in documents() {
            let start: String = document.chars().take(30).collect();
            let judged = judge(target, document.as_bytes(), &mut Marks::default());
            assert_eq!(judged, Ok(()), "{name}: {start:?}...");
        }
    }
}
