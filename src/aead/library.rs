//! Which library seals on this CPU.
//!
//! aws-lc has code for VAES with AVX-512 (4 blocks of AES in one register), ring for VAES with AVX2 (2 blocks); on a CPU that has VAES and no
//! AVX-512, as most rented machines with an AMD EPYC of the second and third generation, aws-lc goes block by block, at half the speed of
//! ring. Everywhere else, on ARM too, aws-lc is at least as fast. `docs/benchmarks.md` has the figures.

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

use thiserror::Error;

use super::Cipher;

/// Who seals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    AwsLc,
    Ring,
}

/// For AES, once it was asked for or settled.
static OF_AES: OnceLock<Library> = OnceLock::new();

/// There is no library of this name.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("no library of ciphers is called {0:?}, expected `aws-lc` or `ring`")]
pub struct Unknown(String);

impl Library {
    /// For AES-GCM, what this CPU is faster with.
    pub fn of_aes() -> Self {
        *OF_AES.get_or_init(Self::by_cpu)
    }

    /// Settles it whatever the CPU, before the first key is made; later it changes nothing.
    pub fn settle(self) {
        let _ = OF_AES.set(self);
    }

    pub(super) fn of(cipher: Cipher) -> Self {
        match cipher.is_aes() {
            true => Self::of_aes(),
            false => Self::AwsLc,
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn by_cpu() -> Self {
        use std::arch::is_x86_feature_detected as has;
        let wide = has!("vaes") && has!("vpclmulqdq") && has!("avx2");
        let wider = has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
        match wide && !wider {
            true => Self::Ring,
            false => Self::AwsLc,
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn by_cpu() -> Self {
        Self::AwsLc
    }
}

/// Whether the CPU has instructions for AES-GCM.
pub fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    return std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    false
}

impl fmt::Display for Library {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AwsLc => "aws-lc",
            Self::Ring => "ring",
        })
    }
}

impl FromStr for Library {
    type Err = Unknown;

    fn from_str(name: &str) -> Result<Self, Unknown> {
        [Self::AwsLc, Self::Ring]
            .into_iter()
            .find(|library| library.to_string() == name)
            .ok_or_else(|| Unknown(name.to_owned()))
    }
}
