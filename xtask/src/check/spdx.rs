//! Licence expressions: `(MIT OR Apache-2.0) AND Unicode-3.0`.

/// Whether an expression can be met with allowed licences alone. `/` is the old
/// spelling of `OR`.
pub(super) fn is_met(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut parser = Parser { words: &words, at: 0, allowed, broken: false };
    let met = parser.any_of();
    met && !parser.broken && parser.at == words.len()
}

struct Parser<'a> {
    words: &'a [&'a str],
    at: usize,
    allowed: &'a [String],
    /// The text ended, or went on, where a licence was due.
    broken: bool,
}

impl Parser<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let is = self.words.get(self.at) == Some(&word);
        self.at += usize::from(is);
        is
    }

    /// `AND` binds tighter than `OR`.
    fn any_of(&mut self) -> bool {
        let mut met = self.all_of();
        while self.next_is("OR") {
            met |= self.all_of();
        }
        met
    }

    fn all_of(&mut self) -> bool {
        let mut met = self.one();
        while self.next_is("AND") {
            met &= self.one();
        }
        met
    }

    fn one(&mut self) -> bool {
        if self.next_is("(") {
            let met = self.any_of();
            self.broken |= !self.next_is(")");
            return met;
        }
        let mut name = self.name().to_owned();
        if self.next_is("WITH") {
            name = format!("{name} WITH {}", self.name());
        }
        self.allowed.contains(&name)
    }

    fn name(&mut self) -> &str {
        let name = self.words.get(self.at).filter(|word| !["OR", "AND", "WITH", "(", ")"].contains(*word));
        self.broken |= name.is_none();
        self.at += usize::from(name.is_some());
        name.copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::is_met;

    #[test]
    fn reads_expressions() {
        let allowed = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for met in ["MIT", "MIT/GPL-3.0", "GPL-3.0 OR MIT", "(GPL-3.0 OR MIT) AND Apache-2.0"] {
            assert!(is_met(met, &allowed), "{met}");
        }
        assert!(is_met("Apache-2.0 WITH LLVM-exception", &allowed));
        for not in [
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "MIT OR",
            "MIT OR OR MIT",
            "MIT WITH",
            "MIT)",
            "(MIT",
            "",
            "GPL-3.0 OR MIT AND BSD-3-Clause",
        ] {
            assert!(!is_met(not, &allowed), "{not}");
        }
    }
}
