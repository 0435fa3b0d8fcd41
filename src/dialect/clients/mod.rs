//! What the files of other clients, sing-box' and Clash's, have in common: nodes with a server and an account, rules, groups that
//! choose, and what is lost on the way there.

pub(in crate::dialect) mod beside;
pub(in crate::dialect) mod dns;
pub(in crate::dialect) mod groups;
pub(in crate::dialect) mod logic;
pub(in crate::dialect) mod lost;
pub(in crate::dialect) mod nodes;
pub(in crate::dialect) mod packed;
pub(in crate::dialect) mod parts;
pub(in crate::dialect) mod rules;
pub(in crate::dialect) mod sets;
pub(in crate::dialect) mod sniffing;
