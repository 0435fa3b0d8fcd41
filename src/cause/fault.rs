//! What only a look at the whole way finds, or at the machine that a server runs on.

/// Why a step of `mobula doctor` is not well, where no connection says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The config has mistakes.
    Config,
    /// No outbound leads to a server.
    NoServer,
    /// TLS agreed on another protocol than the carrier speaks.
    Alpn,
    /// The server takes WebSocket where httpupgrade is asked for, or the reverse.
    OtherCarrier,
    /// What travels with the upgrade does not arrive.
    EarlyDataLost,
    /// A web server answers in the place of the tunnel.
    FallbackAnswers,
    /// What answers speaks another protocol, or another account's.
    OtherServer,
    /// The next proxy wants other credentials.
    ProxyAuth,
    /// The target's own TLS.
    TargetTls,
    /// The target answers, and not with HTTP.
    TargetNotHttp,
    /// Silence is cut before a heartbeat ends it.
    IdleCut,
    /// Another program listens there.
    PortTaken,
    /// This user may not listen there.
    PortForbidden,
    /// There is no such place to listen.
    PortNowhere,
    /// A certificate or its key cannot be read.
    CertificateUnreadable,
    /// They do not belong together.
    CertificateKey,
    /// It is not valid.
    CertificateInvalid,
    /// It will not be for long.
    CertificateExpiring,
    /// Two inbounds, or an inbound and a page, want one path.
    PathsCollide,
    /// Nobody sets the clock.
    ClockUnsynchronised,
    /// Few files may be open.
    FilesFew,
    /// The public name leads elsewhere.
    NameElsewhere,
    /// The public URL leads elsewhere.
    UrlElsewhere,
}

impl Fault {
    /// Stays when the sentence changes.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Config => "config-mistakes",
            Self::NoServer => "config-no-server",
            Self::Alpn => "tls-alpn",
            Self::OtherCarrier => "other-carrier",
            Self::EarlyDataLost => "early-data-lost",
            Self::FallbackAnswers => "fallback-answers",
            Self::OtherServer => "other-server",
            Self::ProxyAuth => "proxy-auth",
            Self::TargetTls => "target-tls",
            Self::TargetNotHttp => "target-not-http",
            Self::IdleCut => "idle-cut",
            Self::PortTaken => "port-taken",
            Self::PortForbidden => "port-forbidden",
            Self::PortNowhere => "port-nowhere",
            Self::CertificateUnreadable => "certificate-unreadable",
            Self::CertificateKey => "certificate-key",
            Self::CertificateInvalid => "certificate-invalid",
            Self::CertificateExpiring => "certificate-expiring",
            Self::PathsCollide => "paths-collide",
            Self::ClockUnsynchronised => "clock-unsynchronised",
            Self::FilesFew => "files-few",
            Self::NameElsewhere => "name-elsewhere",
            Self::UrlElsewhere => "url-elsewhere",
        }
    }
}
