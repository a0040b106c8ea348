use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

/// Reads each word of a line and shows what it is.
fn check<T: fmt::Display>(parse: fn(&str) -> Result<T, String>, line: &str, expected: Expect) {
    let mut seen = String::new();
    for word in line.split(' ') {
        let said = parse(word).map_or_else(|_| "wrong".to_owned(), |value| value.to_string());
        seen.push_str(&format!("{word} = {said}\n"));
    }
    expected.assert_eq(&seen);
}

#[test]
fn durations() {
    check(
        Millis::parse,
        "0 0s 250ms 30s 90s 1m30s 2h 7d 1.5s 0.5ms 366d 36h 1d1h1m1s1ms",
        expect![[r#"
            0 = 0s
            0s = 0s
            250ms = 250ms
            30s = 30s
            90s = 1m30s
            1m30s = 1m30s
            2h = 2h
            7d = 7d
            1.5s = 1s500ms
            0.5ms = 1ms
            366d = 366d
            36h = 1d12h
            1d1h1m1s1ms = 1d1h1m1s1ms
        "#]],
    );
    check(
        Millis::parse,
        " 30 -1s +1s 1s1m 1s1s 1.5.5s .s s 1e3s ∞s 1m30 367d 366d1ms 9999999999999999d 1S 1ｓ NaNs",
        expect![[r#"
             = wrong
            30 = wrong
            -1s = wrong
            +1s = wrong
            1s1m = wrong
            1s1s = wrong
            1.5.5s = wrong
            .s = wrong
            s = wrong
            1e3s = wrong
            ∞s = wrong
            1m30 = wrong
            367d = wrong
            366d1ms = wrong
            9999999999999999d = wrong
            1S = wrong
            1ｓ = wrong
            NaNs = wrong
        "#]],
    );
}

#[test]
fn amounts() {
    check(
        Amount::parse,
        "0 2 25% 100% 007 150%",
        expect![[r#"
        0 = 0
        2 = 2
        25% = 25%
        100% = 100%
        007 = 7
        150% = 150%
    "#]],
    );
    check(
        Amount::parse,
        " % -1 +1 1.5 25%% 2%5 4294967296 １ 25 %",
        expect![[r#"
         = wrong
        % = wrong
        -1 = wrong
        +1 = wrong
        1.5 = wrong
        25%% = wrong
        2%5 = wrong
        4294967296 = wrong
        １ = wrong
        25 = 25
        % = wrong
    "#]],
    );
}

#[test]
fn sizes() {
    check(
        Bytes::parse,
        "0 512 1B 1kB 1KB 64KiB 1024KiB 256MiB 2GB 2GiB 3TiB 1000",
        expect![[r#"
        0 = 0
        512 = 512
        1B = 1
        1kB = 1000
        1KB = 1000
        64KiB = 64KiB
        1024KiB = 1MiB
        256MiB = 256MiB
        2GB = 1953125KiB
        2GiB = 2GiB
        3TiB = 3072GiB
        1000 = 1000
    "#]],
    );
    check(
        Bytes::parse,
        " -1 +1 1K 1m 1.5GiB 1 KiB 99999999999999999999 18446744073709551615KiB é",
        expect![[r#"
             = wrong
            -1 = wrong
            +1 = wrong
            1K = wrong
            1m = wrong
            1.5GiB = wrong
            1 = 1
            KiB = wrong
            99999999999999999999 = wrong
            18446744073709551615KiB = wrong
            é = wrong
        "#]],
    );
}

#[test]
fn percentages_round_as_kubernetes_does() {
    let both = |percent, whole| {
        let amount = Amount::Percent(percent);
        (amount.of(whole, Rounding::Up), amount.of(whole, Rounding::Down))
    };
    assert_eq!(both(25, 10), (3, 2));
    assert_eq!(both(25, 4), (1, 1));
    assert_eq!(both(25, 1), (1, 0));
    assert_eq!(both(0, 7), (0, 0));
    assert_eq!(both(100, 7), (7, 7));
    assert_eq!(both(1, 10_000), (100, 100));
    assert_eq!(both(u32::MAX, u32::MAX), (u32::MAX, u32::MAX));
    assert_eq!(Amount::Count(9).of(3, Rounding::Down), 9);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(number in any::<u64>(), time in 0..=DURATION_MAX.0) {
        prop_assert_eq!(Millis::parse(&Millis(time).to_string()), Ok(Millis(time)));
        prop_assert_eq!(Bytes::parse(&Bytes(number).to_string()), Ok(Bytes(number)));
        let small = number as u32;
        for amount in [Amount::Count(small), Amount::Percent(small)] {
            prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
        }
    }

    #[test]
    fn up_and_down_are_at_most_one_apart(percent in 0u32..=100, whole in 0u32..=10_000) {
        let up = Amount::Percent(percent).of(whole, Rounding::Up);
        let down = Amount::Percent(percent).of(whole, Rounding::Down);
        prop_assert!(down <= up && up - down <= 1 && up <= whole);
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in "([0-9.]|d|h|m|s|ms|%|KiB|é|-){0,12}") {
        if let Ok(time) = Millis::parse(&text) {
            prop_assert!(time <= DURATION_MAX);
            prop_assert_eq!(Millis::parse(&time.to_string()), Ok(time));
        }
        let _ = Amount::parse(&text);
        let _ = Bytes::parse(&text);
    }
}
