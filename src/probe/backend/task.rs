//! One request: its nodes are measured, each is told when it is done, and all of them at the end.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use super::{Shared, ends, scripts};
use crate::address::Destination;
use crate::observatory::Url;
use crate::probe::codec::{self, Configs, Macro, Matrix, Measured, Request, Slot};
use crate::probe::measure::{self, Downloads, Pings, Plan};
use crate::probe::node::Node;
use crate::probe::script::About;
use crate::session::Source;

/// What is pinged when nothing is said.
const PING: &str = "http://gstatic.com/generate_204";

/// What is downloaded where the back end is to choose.
const DOWNLOAD: &str = "https://speed.cloudflare.com/__down?bytes=200000000";

/// The most pings of a node: AirportR does as many as koipy can be told.
const MAX_PINGS: u16 = 999;

/// Whether something is to be downloaded.
pub(super) fn asks_for_speed(request: &Request) -> bool {
    let mut kinds = request
        .matrices()
        .iter()
        .map(|one| Matrix::named(&one.kind));
    kinds.any(|matrix| matrix.needs() == Macro::Speed)
}

/// Carries a request out; what there is to say goes to `say`.
pub(super) async fn run(
    shared: Arc<Shared>,
    request: Request,
    say: mpsc::Sender<Message>,
    from: Source,
) {
    let (task, began) = (Uuid::new_v4().to_string(), Instant::now());
    let all = request.nodes().len();
    let mut waiting = Waiting::new(shared.clone(), all);
    let speak = |text: String| say.send(Message::from(text));
    let mut alive = 0;
    let mut slots: Vec<Option<Slot>> = vec![None; all];
    if request.configs.api_version == 2 {
        let text = codec::progress(&task, 0, &Slot::default(), shared.queuing());
        let _ = speak(text).await;
    }
    if all == 0 {
        let slot = Slot {
            invoke_duration: -1,
            ..Slot::default()
        };
        let _ = speak(codec::progress(&task, 0, &slot, shared.queuing())).await;
    }
    let asked = Arc::new(Asked {
        plan: plan(&request, &shared),
        known: ends::Known::new(&shared.lab, &request),
        request,
    });
    let mut running = JoinSet::new();
    let mut next = 0;
    loop {
        // No more of a task stand in the queue than can be served at once, so that the next task's are soon.
        while next < all && running.len() < shared.settings.concurrency {
            let turn = waiting.next();
            let (shared, asked) = (shared.clone(), asked.clone());
            running.spawn(async move { (next, one(&shared, &asked, next, turn).await) });
            next += 1;
        }
        let Some(done) = running.join_next().await else {
            break;
        };
        if let Ok((index, (slot, is_alive))) = done {
            alive += usize::from(is_alive);
            let text = codec::progress(&task, index, &slot, shared.queuing());
            slots[index] = Some(slot);
            if speak(text).await.is_err() {
                return;
            }
        }
    }
    let slots: Vec<Slot> = slots.into_iter().map(Option::unwrap_or_default).collect();
    let _ = speak(codec::result(&task, &asked.request, &slots)).await;
    (shared.tell)(line(&asked.request, from, alive, began.elapsed()));
}

/// What the log has of a task.
fn line(request: &Request, from: Source, alive: usize, took: Duration) -> String {
    let short = |text: &str| -> String { text.chars().take(64).collect::<String>() };
    let mut line = format!("task `{}`", short(&request.basics.id).escape_debug());
    let _ = write!(
        line,
        " of `{}` from {from}: ",
        short(&request.basics.invoker).escape_debug()
    );
    let mut names: Vec<&str> = Vec::new();
    for one in request.matrices() {
        let name = Matrix::named(&one.kind).name();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let all = request.nodes().len();
    let asks_for_life = |kind: &&str| {
        let needs = Matrix::named(kind).needs();
        matches!(needs, Macro::Ping | Macro::Speed)
    };
    let _ = match names.iter().any(asks_for_life) {
        true => write!(line, "{alive} of {all} nodes answer"),
        false => write!(line, "{all} {}", if all == 1 { "node" } else { "nodes" }),
    };
    let _ = write!(line, ", {:.1} s, {}", took.as_secs_f64(), names.join(" "));
    line
}

/// What tasks of all nodes share.
struct Asked {
    request: Request,
    plan: Plan,
    known: ends::Known,
}

/// Measures a node; whether it is alive.
async fn one(shared: &Shared, asked: &Asked, index: usize, turn: Turn) -> (Slot, bool) {
    let given = &asked.request.nodes()[index];
    let node = match &*asked.request.vendor {
        "Clash" => Node::of_payload(&given.name, &given.payload),
        "Local" => Node::of_this_machine(&given.name),
        _ => Node::unread(
            &given.name,
            "expected `Clash` or `Local` for `Vendor`".to_owned(),
        ),
    };
    let place = shared.places.acquire().await;
    drop(turn);
    let began = Instant::now();
    let mut measured = Measured::default();
    match shared.lab.mount(&node) {
        Err(why) => measured.cause = Some(why),
        Ok(mounted) => {
            let mounted = Arc::new(mounted);
            let nat = async {
                match &asked.plan.stun {
                    Some(Ok(server)) => Some(measure::nat(&mounted, server).await),
                    _ => None,
                }
            };
            let mut pinged = Measured::default();
            let pings = async {
                if let Some(plan) = &asked.plan.pings {
                    measure::pings(&mounted, plan, &mut pinged).await;
                }
            };
            let measuring = async {
                let ((), nat) = tokio::join!(pings, nat);
                // Scripts wait for places of their own.
                drop(place);
                nat
            };
            let about = About {
                node: &mounted,
                info: &node.info,
            };
            let scripts = scripts::run(shared, &asked.request, about);
            let ends = ends::find(shared, &asked.request, &asked.known, about);
            let (nat, scripts, ends) = tokio::join!(measuring, scripts, ends);
            measured = Measured {
                nat,
                scripts,
                ends,
                ..pinged
            };
            if let Some(plan) = &asked.plan.download
                && (asked.plan.pings.is_none() || measured.rtt() > 0)
            {
                let _line = shared.line.acquire().await;
                match measure::download(&mounted, plan).await {
                    Ok(speed) => measured.speed = speed,
                    Err(why) => measured.cause = Some(why),
                }
            }
        }
    }
    let cells = asked.request.matrices().iter();
    let cells = cells.map(|one| Matrix::named(&one.kind).answer(&measured, &one.params));
    let slot = Slot {
        proxy_info: node.info,
        invoke_duration: i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX),
        matrices: Some(cells.collect()),
        ..Slot::default()
    };
    let is_alive = measured.rtt() > 0 || measured.speed.bytes > 0;
    (slot, is_alive)
}

/// What is to be done for each node.
fn plan(request: &Request, shared: &Shared) -> Plan {
    let kinds = request
        .matrices()
        .iter()
        .map(|one| Matrix::named(&one.kind));
    let needs: Vec<Macro> = kinds.map(Matrix::needs).collect();
    let configs = &request.configs;
    Plan {
        pings: needs.contains(&Macro::Ping).then(|| pings(configs)),
        download: (needs.contains(&Macro::Speed) && !shared.settings.no_speed)
            .then(|| downloads(configs, shared.settings.speed_limit)),
        stun: needs.contains(&Macro::Udp).then(|| stun(&configs.stun_url)),
    }
}

fn pings(configs: &Configs) -> Pings {
    let url = match &*configs.ping_address {
        "" => PING,
        url => url,
    };
    let limit = match configs.task_timeout {
        ms @ 10..=10_000 => ms,
        _ => 5000,
    };
    Pings {
        url: Url::parse(url).map_err(|e| format!("PingAddress: {e}")),
        count: configs.ping_average_over.clamp(1, MAX_PINGS),
        limit: Duration::from_millis(limit),
    }
}

fn downloads(configs: &Configs, limit: u64) -> Downloads {
    let url = match &*configs.download_url {
        "" => DOWNLOAD,
        url if url.starts_with("DYNAMIC:") => DOWNLOAD,
        url => url,
    };
    let within = |number: Option<u32>, most: u32, else_: u32| {
        number
            .filter(|number| (1..=most).contains(number))
            .unwrap_or(else_)
    };
    Downloads {
        url: Url::parse(url).map_err(|e| format!("DownloadURL: {e}")),
        seconds: within(u32::try_from(configs.download_duration).ok(), 30, 3),
        threads: within(u32::try_from(configs.download_threading).ok(), 32, 1),
        limit,
    }
}

fn stun(url: &str) -> Result<Destination, String> {
    let place = url.split_once("://").map_or(url, |(_, place)| place);
    let place = match place.rsplit_once(':') {
        Some((_, port)) if port.parse::<u16>().is_ok() => place.to_owned(),
        _ => format!("{place}:3478"),
    };
    place.parse().map_err(|e| format!("STUNURL: {e}"))
}

impl Shared {
    fn queuing(&self) -> usize {
        self.queuing.load(Ordering::Relaxed)
    }
}

/// The nodes of a task that wait, as long as they do.
struct Waiting {
    shared: Arc<Shared>,
    left: usize,
}

/// One of them.
struct Turn(Arc<Shared>);

impl Waiting {
    fn new(shared: Arc<Shared>, left: usize) -> Self {
        shared.queuing.fetch_add(left, Ordering::Relaxed);
        Self { shared, left }
    }

    fn next(&mut self) -> Turn {
        self.left -= 1;
        Turn(self.shared.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.queuing.fetch_sub(self.left, Ordering::Relaxed);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.queuing.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_range_is_the_default() {
        let none = Configs::default();
        assert_eq!(
            (pings(&none).count, pings(&none).limit.as_millis()),
            (1, 5000)
        );
        let plan = downloads(&none, 0);
        assert_eq!((plan.seconds, plan.threads), (3, 1));
        let odd = Configs {
            ping_average_over: 65535,
            task_timeout: 9,
            download_duration: -1,
            download_threading: 33,
            ping_address: "nonsense".to_owned(),
            ..Configs::default()
        };
        let plan = pings(&odd);
        assert_eq!((plan.count, plan.limit.as_millis()), (999, 5000));
        assert!(plan.url.unwrap_err().starts_with("PingAddress: `nonsense`"));
        let plan = downloads(&odd, 0);
        assert_eq!((plan.seconds, plan.threads), (3, 1));
    }

    #[test]
    fn the_log_says_who_answers_where_that_was_asked() {
        let said = |kinds: &[&str]| {
            let kinds = kinds.iter().map(|kind| serde_json::json!({"Type": kind}));
            let asked = serde_json::json!({
                "Basics": {"ID": "a\nb", "Invoker": "42"}, "Nodes": [{}], "Options": {"Matrices": kinds.collect::<Vec<_>>()}
            });
            let request = Request::read(asked.to_string().as_bytes()).unwrap();
            line(&request, Source::Unix, 0, Duration::from_millis(1240))
        };
        let pinged = said(&["TEST_PING_RTT", "UDP_TYPE", "TEST_PING_RTT"]);
        assert!(
            pinged.ends_with(": 0 of 1 nodes answer, 1.2 s, TEST_PING_RTT UDP_TYPE"),
            "{pinged}"
        );
        assert!(pinged.starts_with("task `a\\nb` of `42` from "), "{pinged}");
        let other = said(&["GEOIP_OUTBOUND", "TEST_SCRIPT"]);
        assert!(
            other.ends_with(": 1 node, 1.2 s, GEOIP_OUTBOUND TEST_SCRIPT"),
            "{other}"
        );
    }

    #[test]
    fn a_stun_server_needs_no_port() {
        for (url, to) in [
            ("udp://stun.example:3479", "stun.example:3479"),
            ("stun.example", "stun.example:3478"),
            ("udp://192.0.2.1", "192.0.2.1:3478"),
            ("udp://[2001:db8::1]:1", "[2001:db8::1]:1"),
        ] {
            assert_eq!(stun(url).unwrap().to_string(), to);
        }
        assert!(stun("udp://:x").is_err());
    }
}
