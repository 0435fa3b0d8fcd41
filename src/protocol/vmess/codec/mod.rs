//! The bytes of VMess: keys in, bytes in, values out. No socket, no clock, no chance.

pub mod auth_id;
pub mod body;
pub mod fnv;
pub mod header;
pub mod kdf;
pub mod mask;
pub mod response;

#[cfg(test)]
mod tests;
