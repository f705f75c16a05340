use proptest::prelude::*;

use super::*;

fn unit(value: Value) -> Unit {
    Unit {
        sections: vec![Section {
            name: "Container",
            entries: vec![
                Entry { key: "Exec", value },
                Entry {
                    key: "After",
                    value: Value::Plain(Plain::new("x.service").unwrap()),
                },
            ],
        }],
    }
}

proptest! {
    #[test]
    fn any_word_is_refused_or_reads_back(texts in prop::collection::vec(any::<String>(), 1..6)) {
        if let Ok(words) = texts.iter().map(Word::new).collect::<Result<Vec<_>, _>>() {
            let unit = unit(Value::Words(words));
            prop_assert_eq!(unit.reads_back_from(&unit.text()), Ok(()));
        }
    }

    #[test]
    fn any_argument_is_refused_or_reads_back(texts in prop::collection::vec(any::<String>(), 1..6)) {
        if let Ok(arguments) = texts.iter().map(Argument::new).collect::<Result<Vec<_>, _>>() {
            let unit = unit(Value::Json(arguments));
            prop_assert_eq!(unit.reads_back_from(&unit.text()), Ok(()));
        }
    }

    #[test]
    fn hostile_words_are_refused_or_read_back(
        texts in prop::collection::vec("[ \"'\\\\%$;\\[\\]=#a\u{85}\u{2028}\n]{0,12}", 1..6)
    ) {
        if let Ok(words) = texts.iter().map(Word::new).collect::<Result<Vec<_>, _>>() {
            let unit = unit(Value::Words(words));
            prop_assert_eq!(unit.reads_back_from(&unit.text()), Ok(()));
        }
    }

    #[test]
    fn the_reader_never_panics(text in any::<String>()) {
        let _ = read(&text);
        let _ = words(&text);
        let _ = unexpand(&text);
    }
}

#[test]
fn a_changed_unit_does_not_read_back() {
    let unit = unit(Value::Words(vec![Word::new("a").unwrap()]));
    let text = unit.text();
    for changed in [
        text.replace("\"a\"", "\"b\""),
        text.replace("\"a\"", "\"a\" \"b\""),
        text.replace("Exec", "PodmanArgs"),
        text.replace("[Container]", "[Service]"),
        format!("{text}ExecStartPre=/bin/sh\n"),
        text.replace("\"a\"", "\"a\" \\"),
    ] {
        assert!(unit.reads_back_from(&changed).is_err(), "{changed}");
    }
}

#[test]
fn specifiers_and_variables_are_never_left_to_systemd() {
    assert_eq!(unexpand("%%h $$HOME"), Ok("%h $HOME".to_owned()));
    for open in ["%h", "$HOME", "100%", "$", "%%%n"] {
        assert!(unexpand(open).is_err(), "{open}");
    }
}

#[test]
fn plain_takes_only_what_needs_no_quoting() {
    for good in ["archy.foo.web", "sha256:00", "/a b", "30s"] {
        assert!(Plain::new(good).is_ok(), "{good}");
    }
    for bad in [
        "", " a", "a ", "a\nb", "%h", "$A", "\"", "\\", "é", "a;b", "[x]",
    ] {
        assert!(Plain::new(bad).is_err(), "{bad}");
    }
}
