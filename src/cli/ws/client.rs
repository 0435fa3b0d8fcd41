//! The client's side.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use http::header::{HeaderMap, HeaderValue, ORIGIN};

use super::{Signals, WsArgs, header, lines_of, safe, tell, tell_lines};
use crate::transport::tls::{self, Pem};
use crate::websocket::{
    Address, ClientSettings, End, Event, Options, Proxy, Step, connect, meaning, talk,
};

pub(super) fn settings(args: &WsArgs) -> Result<ClientSettings, String> {
    let url = args.url.as_deref().unwrap_or_default();
    let address = Address::parse(url).map_err(|e| e.to_string())?;
    if args.tls.are_given() {
        return Err("--cert and --self-signed are a server's, of --listen".to_owned());
    }
    let mut headers = HeaderMap::new();
    match &args.origin[..] {
        [] => {}
        [origin] => {
            let value = HeaderValue::from_str(origin.trim());
            let value = value.map_err(|_| "--origin: it has no control characters".to_owned())?;
            headers.insert(ORIGIN, value);
        }
        _ => return Err("--origin: a client has one".to_owned()),
    }
    for text in &args.headers {
        let (name, value) = header(text)?;
        headers.append(name, value);
    }
    let proxy = args.proxy.as_deref().map(Proxy::parse).transpose();
    let authorities = args
        .ca
        .as_ref()
        .map(|file| Pem::File(file.clone()).authorities());
    let authorities = authorities.transpose().map_err(|e| format!("--ca: {e}"))?;
    Ok(ClientSettings {
        address,
        headers,
        protocols: args.protocols()?,
        proxy: proxy.map_err(|e| format!("--proxy: {e}"))?,
        tls: tls::ClientSettings {
            allow_insecure: args.insecure,
            authorities: authorities.unwrap_or_default(),
            alpn: vec!["http/1.1".to_owned()],
            ..tls::ClientSettings::default()
        },
    })
}

pub(super) async fn run(
    args: &WsArgs,
    settings: &ClientSettings,
    mut signals: Signals,
) -> ExitCode {
    let verbose = args.verbose;
    let steps = |step: Step<'_>| {
        if verbose {
            show(&step);
        }
    };
    let opened = tokio::select! {
        opened = connect(settings, steps) => opened,
        status = signals.next() => return ExitCode::from(status),
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            let text = error.to_string();
            tell(format_args!("{} [{}]", safe(&text), error.code()));
            return ExitCode::FAILURE;
        }
    };
    if verbose {
        let protocol = opened.protocol.as_deref();
        let protocol = protocol.map_or(String::new(), |name| {
            format!(", subprotocol {}", safe(name))
        });
        let took = millis(opened.answered_in);
        tell(format_args!("* open after {took}{protocol}"));
    }
    let events = |event: Event| match event {
        Event::Pong(took) => tell(format_args!("pong after {}", millis(took))),
        Event::NoPong(every) => tell(format_args!("no pong within {}", millis(every))),
        Event::Pinged if verbose => tell("* ping from the server, answered"),
        Event::Closing if verbose => tell("* closing with 1000"),
        Event::Pinged | Event::Closing => {}
    };
    let options = Options {
        form: args.form(),
        on_terminal: std::io::stdout().is_terminal(),
        wait: args.wait,
        ping: args.ping,
    };
    let (input, output) = (tokio::io::stdin(), tokio::io::stdout());
    let mut status = 0;
    let stop = async { status = signals.next().await };
    let end = talk(opened, input, output, options, events, stop).await;
    match end {
        // A Close that says nothing is an answer to ours.
        End::Closed {
            code: code @ 1000,
            reason,
            ..
        }
        | End::Closed {
            code: code @ 1005,
            reason,
            after_ours: true,
        } => {
            if verbose {
                tell(format_args!(
                    "* closed by the server: {}",
                    closed(code, &reason)
                ));
            }
            ExitCode::SUCCESS
        }
        End::Closed { code, reason, .. } => {
            tell(format_args!(
                "closed by the server: {}",
                closed(code, &reason)
            ));
            ExitCode::FAILURE
        }
        End::Quiet => {
            if verbose {
                tell("* the server has not answered the Close");
            }
            ExitCode::SUCCESS
        }
        End::Broken(why) => {
            tell(format_args!("closed by nobody: {}", closed(1006, &why)));
            ExitCode::FAILURE
        }
        End::Wrong { code, why } => {
            let meant = meaning(code);
            tell(format_args!(
                "the server sent {}; closed with {code} ({meant})",
                safe(&why)
            ));
            ExitCode::FAILURE
        }
        End::Input(error) => {
            tell(error);
            ExitCode::FAILURE
        }
        End::OutputGone => ExitCode::SUCCESS,
        End::Output(why) => {
            tell(format_args!("standard output: {why}"));
            ExitCode::FAILURE
        }
        End::Stopped => ExitCode::from(status),
    }
}

/// A code, its meaning, and what is said besides.
fn closed(code: u16, reason: &str) -> String {
    match reason {
        "" => format!("{code} ({})", meaning(code)),
        reason => format!("{code} ({}): {}", meaning(code), safe(reason)),
    }
}

fn show(step: &Step<'_>) {
    match step {
        Step::Connected(to) => tell(format_args!("* connected to {to}")),
        Step::Through(proxy) => tell(format_args!("* the proxy at {} has opened a way", proxy.at)),
        Step::Sealed => tell("* TLS"),
        Step::Asked(head) => tell_lines('>', head),
        Step::Answered(answer, behind) => {
            let status = answer.status();
            let reason = status.canonical_reason().unwrap_or_default();
            let first = format!("{:?} {} {reason}", answer.version(), status.as_str());
            tell_lines('<', &lines_of(&first, answer.headers()));
            if status.as_u16() != 101 && !behind.is_empty() {
                // The beginning of a page that says why.
                tell_lines('<', &[b"\n", &behind[..behind.len().min(SHOWN)]].concat());
            }
        }
    }
}

/// So much is shown of a page.
const SHOWN: usize = 1000;

fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
