use super::*;

fn refused(text: &str) -> JsonError {
    parse(text.as_bytes(), 1 << 20).unwrap_err()
}

#[test]
fn a_member_named_twice_is_refused_at_any_depth() {
    for text in [
        r#"{"a":1,"a":2}"#,
        r#"{"a":1,"a":1}"#,
        r#"{"x":[{"b":{"a":1,"\u0061":2}}]}"#,
    ] {
        assert!(
            matches!(refused(text), JsonError::DuplicateKey { key, .. } if key == "a"),
            "{text}"
        );
    }
}

#[test]
fn numbers_are_integers_that_every_reader_reads_alike() {
    for text in [
        "9007199254740992",
        "-9007199254740992",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "1.5",
        "1.0",
        "1e3",
        "-0",
        "-0.0",
        "1E400",
    ] {
        let error = refused(text);
        let number = matches!(error, JsonError::Number { .. });
        let out_of_range = matches!(error, JsonError::Syntax(_)) && text == "1E400";
        assert!(number || out_of_range, "{text}: {error:?}");
    }
    for text in ["9007199254740991", "-9007199254740991", "0", "-1"] {
        assert_eq!(parse(text.as_bytes(), 64).unwrap().to_string(), text);
    }
}

#[test]
fn lone_surrogates_and_broken_syntax_are_refused() {
    for text in [
        r#""\ud800""#,
        r#""\udc00\ud800""#,
        "\"a\nb\"",
        "{}{}",
        "[1,]",
        "nul",
        "",
        "NaN",
        "\u{feff}{}",
        "{'a':1}",
    ] {
        assert!(matches!(refused(text), JsonError::Syntax(_)), "{text:?}");
    }
    let not_utf8 = parse(b"\"\xff\"", 64);
    assert!(matches!(not_utf8, Err(JsonError::Syntax(_))));
}

#[test]
fn nesting_has_a_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(DEPTH_MAX).as_bytes(), 1 << 20).is_ok());
    assert!(matches!(
        refused(&nested(DEPTH_MAX + 1)),
        JsonError::Depth { .. }
    ));
    assert!(matches!(refused(&nested(100_000)), JsonError::Depth { .. }));
}

#[test]
fn size_has_a_limit() {
    assert!(parse(b"[1]", 3).is_ok());
    assert!(matches!(
        parse(b"[1]", 2),
        Err(JsonError::Size {
            size_bytes: 3,
            size_bytes_max: 2
        })
    ));
}

#[test]
fn only_the_canonical_spelling_is_accepted_as_canonical() {
    assert!(parse_canonical(br#"{"a":1,"b":"\u000f"}"#, 64).is_ok());
    for text in [
        r#"{"b":1,"a":2}"#,
        r#"{"a": 1}"#,
        "{\"a\":1}\n",
        r#"{"a":"\u0041"}"#,
    ] {
        assert!(
            matches!(
                parse_canonical(text.as_bytes(), 64),
                Err(JsonError::NotCanonical)
            ),
            "{text}"
        );
    }
}
