//! How a server finds out whose first flight it has, for the micro-benchmarks.

use bytes::BytesMut;
use uuid::Uuid;

use crate::address::Destination;
use crate::protocol::ReplayMemory;
use crate::protocol::user_table::UserTable;
use crate::protocol::users::Identity;
use crate::protocol::vmess::codec::auth_id::{CmdKey, Writer};
use crate::protocol::vmess::codec::body::Cipher;
use crate::protocol::vmess::codec::header::{Command, Padding, Request, open, option, seal};
use crate::protocol::vmess::users::Users;
use crate::protocol::{UserSettings, trojan};
use crate::session::User;

/// A server's users, numbered from 0.
pub struct Finder(Users, ReplayMemory);

impl Finder {
    pub fn new(users: u32) -> Self {
        let users = (0..users).map(|i| UserSettings {
            id: id(i).into(),
            ..UserSettings::default()
        });
        Self(Users::new(users.collect()), ReplayMemory::default())
    }

    /// Finds out who sent the request header in `flight` and opens it, at the time `now`.
    pub fn open(&self, flight: &mut BytesMut, now: i64) -> Option<Request> {
        let auth_id = *flight.first_chunk()?;
        let (member, _) = self.0.find(&auth_id, now, &self.1).ok()?;
        open(&member.key, flight).ok()?
    }
}

/// The request header of a user, the `salt`th; one that no [`Finder`] has is a stranger.
pub fn flight(user: u32, salt: u32, now: i64, to: Destination) -> BytesMut {
    let request = Request {
        iv: [1; 16],
        key: [2; 16],
        v: 3,
        options: option::CHUNKS | option::MASKING,
        cipher: Cipher::Aes128Gcm,
        marks_ends: false,
        padding: Padding::Unknown,
        command: Command::Stream(to),
    };
    let mut plain = BytesMut::new();
    request
        .encode(&[], &mut plain)
        .expect("the name is a short one");
    let auth_id = Writer::new(&key(user)).seal(now, salt.to_be_bytes());
    seal(&key(user), &auth_id, &[4; 8], &plain)
}

/// Whether a server with so many users of VLESS finds one of them by the id.
pub fn vless_users(users: u32) -> impl Fn(u32) -> bool {
    let users = (0..users).map(|i| UserSettings {
        id: id(i).into(),
        ..UserSettings::default()
    });
    table(users.collect())
}

/// Whether a server with so many users of Trojan finds one of them by the hash of the password.
pub fn trojan_users(users: u32) -> impl Fn(u32) -> bool {
    let users = (0..users).map(|i| trojan::UserSettings {
        password: i.to_string().into(),
        ..trojan::UserSettings::default()
    });
    table(users.collect())
}

fn table<U>(users: Vec<U>) -> impl Fn(u32) -> bool
where
    U: Identity<Key: Copy> + Clone + PartialEq + Into<User>,
{
    let keys: Vec<U::Key> = users.iter().map(Identity::key).collect();
    let table = UserTable::of(users);
    move |i| table.find(&keys[i as usize % keys.len()]).is_some()
}

fn key(user: u32) -> CmdKey {
    CmdKey::new(&id(user))
}

fn id(user: u32) -> Uuid {
    Uuid::from_u128(user.into())
}
