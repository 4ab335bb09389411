//! A filter in front of every system call of a sandbox, for x86-64.
//!
//! The filter is a deny list that answers with an error number; it never kills
//! and never asks. Other instruction sets (i386, x32) and calls newer than the
//! list was checked against look as if the kernel did not have them. Installing
//! it needs `CAP_SYS_ADMIN` in the caller's user namespace instead of
//! `no_new_privs`, which would break `sudo`; that is why `seccompiler` is not used.
#![expect(unsafe_code, reason = "the seccomp call has no safe wrapper")]

use std::io;

/// What happens to one system call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Always fails with this error number.
    Fail(i32),
    /// Fails so if the low half of the argument has one of these bits.
    FailIfBits {
        /// Which argument, from 0.
        argument: u8,
        /// The bits.
        bits: u32,
        /// The error number.
        errno: i32,
    },
    /// Fails so unless the low half of the argument is one of these.
    FailUnless {
        /// Which argument, from 0.
        argument: u8,
        /// The values that pass.
        allowed: &'static [u32],
        /// The error number.
        errno: i32,
    },
}

/// A filter ready to be installed.
#[derive(Clone)]
pub struct Filter {
    program: Vec<libc::sock_filter>,
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} instructions)", self.program.len())
    }
}

const ARCH_X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;
const RET_ALLOW: u32 = 0x7fff_0000;
const RET_ERRNO: u32 = 0x0005_0000;
/// Offsets in `seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENTS: u32 = 16;

const LOAD: u16 = 0x20;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_BITS: u16 = 0x45;
const RETURN: u16 = 0x06;

impl Filter {
    /// Builds the filter. Calls numbered above `newest` do not exist for it.
    ///
    /// # Panics
    ///
    /// When a call's number is negative or a rule allows more than 250 values.
    pub fn new(newest: u32, rules: &[(i64, Rule)]) -> Self {
        let mut filter = Self { program: Vec::with_capacity(8 + 3 * rules.len()) };
        filter.put(LOAD, ARCH, 0, 0);
        filter.put(JUMP_EQUAL, ARCH_X86_64, 1, 0);
        filter.fail(libc::ENOSYS);
        filter.put(LOAD, NUMBER, 0, 0);
        // Also catches every x32 call, which has a high bit in its number.
        debug_assert!(newest < X32_BIT, "newer calls include all of x32");
        filter.put(JUMP_GREATER, newest, 0, 1);
        filter.fail(libc::ENOSYS);
        for (call, rule) in rules {
            filter.rule(u32::try_from(*call).expect("call numbers are small and positive"), *rule);
        }
        filter.put(RETURN, RET_ALLOW, 0, 0);
        filter
    }

    fn rule(&mut self, call: u32, rule: Rule) {
        match rule {
            Rule::Fail(errno) => {
                self.put(JUMP_EQUAL, call, 0, 1);
                self.fail(errno);
            }
            Rule::FailIfBits { argument, bits, errno } => {
                self.put(JUMP_EQUAL, call, 0, 4);
                self.put(LOAD, ARGUMENTS + 8 * u32::from(argument), 0, 0);
                self.put(JUMP_BITS, bits, 0, 1);
                self.fail(errno);
                self.put(LOAD, NUMBER, 0, 0);
            }
            Rule::FailUnless { argument, allowed, errno } => {
                let n = u8::try_from(allowed.len()).expect("a handful of values");
                self.put(JUMP_EQUAL, call, 0, n + 3);
                self.put(LOAD, ARGUMENTS + 8 * u32::from(argument), 0, 0);
                for (i, value) in (0..n).zip(allowed) {
                    self.put(JUMP_EQUAL, *value, n - i, 0);
                }
                self.fail(errno);
                self.put(LOAD, NUMBER, 0, 0);
            }
        }
    }

    fn fail(&mut self, errno: i32) {
        self.put(RETURN, RET_ERRNO | errno.unsigned_abs(), 0, 0);
    }

    fn put(&mut self, code: u16, k: u32, jt: u8, jf: u8) {
        self.program.push(libc::sock_filter { code, jt, jf, k });
    }

    /// Puts the filter in front of the calling thread and all its descendants, for ever.
    ///
    /// # Panics
    ///
    /// When it has more than 65,535 instructions, of which the kernel takes 4,096.
    pub fn install(&self) -> io::Result<()> {
        let program = libc::sock_fprog {
            len: u16::try_from(self.program.len()).expect("the kernel takes at most 4096"),
            filter: self.program.as_ptr().cast_mut(),
        };
        // SAFETY: the kernel copies `len` instructions from `filter`, both of which outlive the call.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the kernel would; returns the error number, 0 to allow.
    fn run(filter: &Filter, arch: u32, call: u32, arguments: [u32; 2]) -> u32 {
        let load = |offset| match offset {
            NUMBER => call,
            ARCH => arch,
            _ => arguments[((offset - ARGUMENTS) / 8) as usize],
        };
        let (mut pc, mut a) = (0, 0);
        loop {
            let i = &filter.program[pc];
            let yes = match i.code {
                LOAD => {
                    a = load(i.k);
                    pc += 1;
                    continue;
                }
                RETURN => return if i.k == RET_ALLOW { 0 } else { i.k & 0xffff },
                JUMP_EQUAL => a == i.k,
                JUMP_GREATER => a > i.k,
                _ => a & i.k != 0,
            };
            pc += 1 + usize::from(if yes { i.jt } else { i.jf });
        }
    }

    #[test]
    fn decides_as_the_rules_say() {
        let rules = [
            (5, Rule::FailIfBits { argument: 0, bits: 0b110, errno: 1 }),
            (6, Rule::FailUnless { argument: 1, allowed: &[1, 2, 10], errno: 97 }),
            (7, Rule::Fail(38)),
        ];
        let filter = Filter::new(100, &rules);
        let run = |call, arguments| run(&filter, ARCH_X86_64, call, arguments);
        assert_eq!((run(5, [1, 0]), run(5, [2, 0]), run(5, [0xf, 0])), (0, 1, 1));
        assert_eq!((run(6, [0, 1]), run(6, [0, 2]), run(6, [0, 10])), (0, 0, 0));
        assert_eq!((run(6, [0, 3]), run(6, [1, 0])), (97, 97));
        assert_eq!((run(7, [0, 0]), run(8, [0, 0]), run(100, [0, 0])), (38, 0, 0));
        assert_eq!((run(101, [0, 0]), run(X32_BIT | 8, [0, 0])), (38, 38));
        assert_eq!(super::tests::run(&filter, 0x4000_0003, 8, [0, 0]), 38, "i386");
    }
}
