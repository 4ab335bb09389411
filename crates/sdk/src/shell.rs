//! Words of a command line.

/// A word that a shell reads back as it is.
pub(crate) fn quote(word: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"@%+=:,./-_".contains(&b);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// Words as a line.
pub(crate) fn line<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> String {
    words.into_iter().map(|word| quote(word.as_ref())).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_the_words_back() {
        let words = ["a", "", "b c", "it's", "$HOME", "x\ny", "-n"];
        let printed = std::process::Command::new("sh")
            .args(["-c", &format!("printf '%s|' {}", line(words))])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(printed.stdout).unwrap(), words.map(|word| format!("{word}|")).concat());
    }
}
