//! One certificate, from the account to the chain.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, Order, OrderStatus, RetryPolicy,
};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::info;

use super::Settings;
use super::challenges::{Door, Shown};
use super::folder::Folder;
use super::http::Http;
use crate::cause::{AcmeError, Challenge};

/// A key and its chain, as PEM.
pub(super) struct Issued {
    pub(super) pem: String,
    /// By which proof.
    pub(super) by: Challenge,
}

/// Why nothing was issued, and when the authority wants to be asked again, if it says so.
pub(super) struct Failure {
    pub(super) error: AcmeError,
    pub(super) not_before: Option<SystemTime>,
}

/// How long one order may take. Authorities look within seconds; some wait a while between two looks.
const LIMIT: Duration = Duration::from_secs(180);

/// How often an authority is asked how far it is.
const POLLS: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(300))
    .backoff(1.4)
    .timeout(Duration::from_secs(90));

/// What an authority says of an account that it does not know.
const UNKNOWN_ACCOUNT: &str = "urn:ietf:params:acme:error:accountDoesNotExist";

/// What an authority says to somebody who asks too often.
const RATE_LIMITED: &str = "urn:ietf:params:acme:error:rateLimited";

/// Asks for a certificate: with the proof that was good the last time, and with the other one where that is not enough.
pub(super) async fn issue(
    settings: &Arc<Settings>,
    folder: &Folder,
    first: Challenge,
) -> Result<Issued, Failure> {
    let http = Http::new(settings).map_err(|e| Failure {
        error: AcmeError::Refused(e.to_string()),
        not_before: None,
    })?;
    let asking = async {
        let issued = ask(settings, folder, &http, first).await;
        match issued {
            // Authorities forget accounts when they are set up anew.
            Err(Step::UnknownAccount) => {
                let file = folder.account.clone();
                let _ = spawn_blocking(move || std::fs::remove_file(file)).await;
                ask(settings, folder, &http, first).await
            }
            other => other,
        }
    };
    let issued = match timeout(LIMIT, asking).await {
        Ok(issued) => issued,
        Err(_) => Err(AcmeError::Slow(LIMIT).into()),
    };
    issued.map_err(|step| Failure {
        error: match step {
            Step::Failed(error) => error,
            Step::UnknownAccount => AcmeError::Refused("it knows no account of ours".to_owned()),
        },
        not_before: http.not_before(),
    })
}

/// How an attempt ends without a certificate.
enum Step {
    Failed(AcmeError),
    UnknownAccount,
}

impl From<AcmeError> for Step {
    fn from(error: AcmeError) -> Self {
        Self::Failed(error)
    }
}

async fn ask(
    settings: &Arc<Settings>,
    folder: &Folder,
    http: &Http,
    first: Challenge,
) -> Result<Issued, Step> {
    let directory = settings.directory.as_str();
    let account = account(settings, folder, http).await?;
    let is_open = Door::is_open(settings.http_port);
    let ways: &[Challenge] = match (is_open, first) {
        (false, _) => &[Challenge::TlsAlpn],
        (true, Challenge::TlsAlpn) => &[Challenge::TlsAlpn, Challenge::Http],
        (true, Challenge::Http) => &[Challenge::Http, Challenge::TlsAlpn],
    };
    let mut failed: Option<AcmeError> = None;
    for &by in ways {
        match order(settings, &account, by).await {
            Ok(pem) => return Ok(Issued { pem, by }),
            Err(Trouble::Here(
                error @ (AcmeError::Validation { .. } | AcmeError::NoChallenge { .. }),
            )) => {
                if ways.len() > 1 {
                    info!("{error}");
                }
                failed.get_or_insert(error);
            }
            Err(Trouble::Here(error)) => return Err(error.into()),
            Err(Trouble::There(error)) => return Err(step(error, directory)),
        }
    }
    let nothing = || AcmeError::Refused("no proof was tried".to_owned());
    Err(failed.unwrap_or_else(nothing).into())
}

/// The account of the folder; one is made where there is none.
async fn account(settings: &Settings, folder: &Folder, http: &Http) -> Result<Account, Step> {
    let directory = settings.directory.as_str();
    let file = folder.account.clone();
    let read = {
        let file = file.clone();
        blocking(move || Folder::read(&file)).await?
    };
    let builder = Account::builder_with_http(Box::new(http.clone()));
    if let Some(text) = read {
        let credentials =
            serde_json::from_str::<AccountCredentials>(&text).map_err(|_| AcmeError::Folder {
                path: file,
                source: std::io::Error::other("it holds no account, take it away"),
            })?;
        let known = builder.from_credentials(credentials).await;
        return known.map_err(|error| step(error, directory));
    }
    let email = settings
        .email
        .as_ref()
        .map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = email.iter().map(String::as_str).collect();
    let new = NewAccount {
        contact: &contact,
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let made = builder.create(&new, directory.to_owned(), None).await;
    let (account, credentials) = made.map_err(|error| step(error, directory))?;
    let text = serde_json::to_string(&credentials);
    let text = text.map_err(|e| AcmeError::Refused(e.to_string()))?;
    blocking(move || Folder::write(&file, &text)).await?;
    Ok(account)
}

/// Where something went wrong in an order.
enum Trouble {
    Here(AcmeError),
    There(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::There(error)
    }
}

impl From<AcmeError> for Trouble {
    fn from(error: AcmeError) -> Self {
        Self::Here(error)
    }
}

async fn order(settings: &Settings, account: &Account, by: Challenge) -> Result<String, Trouble> {
    let names = settings.domains.iter().cloned().map(Identifier::Dns);
    let names: Vec<Identifier> = names.collect();
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    // What is in it is shown until the authority is done.
    let mut shown = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let name = authorization.identifier().to_string();
        let Some(mut challenge) = authorization.challenge(kind(by)) else {
            return Err(AcmeError::NoChallenge { name, by }.into());
        };
        let proof = challenge.key_authorization();
        shown.push(match by {
            Challenge::TlsAlpn => {
                Shown::by_tls(&name, proof.digest().as_ref()).map_err(AcmeError::Certificate)?
            }
            Challenge::Http => Shown::by_http(settings.http_port, &challenge.token, proof.as_str()),
        });
        match challenge.set_ready().await {
            // It has looked already.
            Err(Error::Api(problem)) if !is_about_us(&problem) => {
                let said = said(&problem);
                return Err(AcmeError::Validation { name, by, said }.into());
            }
            ready => ready?,
        }
    }
    let ready = order.poll_ready(&POLLS).await;
    if !matches!(ready, Ok(OrderStatus::Ready)) {
        if let Some(error) = invalid(&mut order, by).await {
            return Err(error.into());
        }
        ready?;
        let text = "the order has become invalid".to_owned();
        return Err(AcmeError::Refused(text).into());
    }
    drop(shown);
    let key = order.finalize().await?;
    let chain = order.poll_certificate(&POLLS).await?;
    Ok(format!("{key}{chain}"))
}

/// What the authority says of the name that it has not found us at.
async fn invalid(order: &mut Order, by: Challenge) -> Option<AcmeError> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.ok()?;
        let _ = authorization.refresh().await;
        let name = authorization.identifier().to_string();
        let problem = authorization
            .challenges
            .iter()
            .find_map(|c| c.error.as_ref());
        if let Some(problem) = problem {
            let said = said(problem);
            return Some(AcmeError::Validation { name, by, said });
        }
    }
    None
}

fn kind(by: Challenge) -> ChallengeType {
    match by {
        Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
        Challenge::Http => ChallengeType::Http01,
    }
}

/// Whether a problem is one of our account or our rate, and not of a name.
fn is_about_us(problem: &instant_acme::Problem) -> bool {
    matches!(
        problem.r#type.as_deref(),
        Some(UNKNOWN_ACCOUNT | RATE_LIMITED)
    )
}

/// In the authority's own words, which may name what somebody else's server has sent: no line ends in them.
fn said(problem: &instant_acme::Problem) -> String {
    let detail = problem.detail.as_deref().unwrap_or_default();
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.rsplit(':').next().unwrap_or_default();
    let mut texts = vec![format!("{detail} ({kind})")];
    let below = problem.subproblems.iter();
    texts.extend(below.filter_map(|one| one.detail.clone()));
    let text: String = texts.join(", ").chars().take(MAX_SAID).collect();
    text.escape_debug().to_string()
}

/// As much as fits into a line that people read.
const MAX_SAID: usize = 500;

/// An error of the crate, in our words.
fn step(error: Error, directory: &str) -> Step {
    let url = directory.to_owned();
    Step::Failed(match error {
        Error::Api(problem) => match problem.r#type.as_deref() {
            Some(UNKNOWN_ACCOUNT) => return Step::UnknownAccount,
            Some(RATE_LIMITED) => AcmeError::RateLimit(said(&problem)),
            _ => AcmeError::Refused(said(&problem)),
        },
        Error::Timeout(_) => AcmeError::Slow(LIMIT),
        Error::Other(other) => match other.downcast::<AcmeError>() {
            Ok(ours) => *ours,
            Err(other) => AcmeError::Directory {
                url,
                why: other.to_string(),
            },
        },
        other => AcmeError::Directory {
            url,
            why: other.to_string(),
        },
    })
}

/// Work with files, on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AcmeError> + Send + 'static,
) -> Result<T, AcmeError> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(AcmeError::Refused(e.to_string())),
    }
}
