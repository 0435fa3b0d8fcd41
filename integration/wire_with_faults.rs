//! Two machines and a long wire between them, which can lose packets, hold them up, or fall silent without a word.
//!
//! The wire is a TUN device on each machine; this program holds both other ends. A test runs on the near machine: what it
//! and its children open is there, so that applications, targets and proxies are as in any other test.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use tun_rs::{DeviceBuilder, SyncDevice};

use crate::netns::Machine;
use crate::peers::Stage;

pub const NEAR: &str = "10.9.0.1";
pub const FAR: &str = "10.9.0.2";

/// What a test has.
pub struct Far {
    pub stage: Stage,
    /// The machine behind the wire; its address is [`FAR`].
    pub machine: Machine,
    pub wire: Wire,
}

/// The wire's faults; they hold from now on for what comes into it.
#[derive(Clone, Default)]
pub struct Wire(Arc<Faults>);

#[derive(Default)]
struct Faults {
    /// Of a thousand packets so many are lost.
    loss: AtomicU32,
    /// Milliseconds, one way.
    delay: AtomicU32,
}

impl Wire {
    pub fn loses(&self, of_a_thousand: u32) {
        self.0.loss.store(of_a_thousand, Relaxed);
    }

    /// Not a packet, and not a word about it.
    pub fn is_cut(&self) {
        self.loses(1000);
    }

    pub fn takes(&self, one_way: Duration) {
        let millis = one_way.as_millis().try_into().expect("a short time");
        self.0.delay.store(millis, Relaxed);
    }

    /// As a wire should be.
    pub fn is_mended(&self) {
        self.loses(0);
        self.takes(Duration::ZERO);
    }

    /// Carries packets from one machine to the other; lasts as long as the process.
    fn carry(&self, from: &Arc<SyncDevice>, to: &Arc<SyncDevice>) {
        let (sender, receiver) = mpsc::channel::<(Instant, Vec<u8>)>();
        let (from, to, faults) = (from.clone(), to.clone(), self.0.clone());
        thread::spawn(move || {
            let mut buf = [0; 2048];
            let mut chance = 1u64;
            while let Ok(n) = from.recv(&mut buf) {
                chance = chance
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                if (chance >> 33) % 1000 < faults.loss.load(Relaxed).into() {
                    continue;
                }
                let delay = Duration::from_millis(faults.delay.load(Relaxed).into());
                if sender
                    .send((Instant::now() + delay, buf[..n].to_vec()))
                    .is_err()
                {
                    return;
                }
            }
        });
        thread::spawn(move || {
            for (due, packet) in receiver {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                if to.send(&packet).is_err() {
                    return;
                }
            }
        });
    }
}

/// Runs `test` on a machine with another one far away.
pub fn run<F: Future<Output = ()>>(test: impl FnOnce(Far) -> F + Send) {
    let (near, machine) = (Machine::new("near"), Machine::new("far"));
    let end = |machine: &Machine, address: &str| {
        let device = machine.within(|| DeviceBuilder::new().name("wire").mtu(1500).build_sync());
        machine.ip(&format!("address add {address}/24 dev wire"));
        machine.ip("link set wire up");
        Arc::new(device.expect("root may make a TUN device"))
    };
    let (here, there) = (end(&near, NEAR), end(&machine, FAR));
    let wire = Wire::default();
    wire.carry(&here, &there);
    wire.carry(&there, &here);
    near.within(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let stage = Stage::new();
        runtime.expect("a runtime").block_on(test(Far {
            stage,
            machine,
            wire,
        }));
    });
}
