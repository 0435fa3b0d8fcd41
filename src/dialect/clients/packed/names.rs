//! A set of names.

use super::{Packed, Unreadable};

/// The longest name, with a mark that says what it stands for.
const LONGEST: usize = 260;

/// The names of a set, in order of their lengths; each may begin with a mark. `length` reads how much follows.
pub(in crate::dialect) fn names<'b>(
    packed: &mut Packed<'b>,
    length: impl Fn(&mut Packed<'b>) -> Result<usize, Unreadable>,
) -> Result<Vec<String>, Unreadable> {
    packed.byte()?;
    let ends = length(packed)?;
    let ends = packed.words(ends)?;
    let shape = length(packed)?;
    let shape = packed.words(shape)?;
    let labels = length(packed)?;
    let labels = packed.take(labels)?;
    let parents = parents(&shape, labels.len())?;
    let mut names = Vec::new();
    for node in 0..parents.len() {
        if !bit(&ends, node) {
            continue;
        }
        packed.spend()?;
        names.push(name(node, &parents, labels)?);
    }
    Ok(names)
}

/// The node above each; of the first it is that itself.
fn parents(shape: &[u64], labels: usize) -> Result<Vec<u32>, Unreadable> {
    let mut parents = Vec::with_capacity(labels + 1);
    parents.push(0);
    let mut node = 0;
    for n in 0..shape.len() * 64 {
        if bit(shape, n) {
            node += 1;
            if node == parents.len() {
                break;
            }
        } else if parents.len() <= labels {
            parents.push(u32::try_from(node).map_err(|_| Unreadable::Damaged)?);
        } else {
            return Err(Unreadable::Damaged);
        }
    }
    match node == parents.len() && node == labels + 1 {
        true => Ok(parents),
        false => Err(Unreadable::Damaged),
    }
}

/// From the end to the front is what the tree has, letter by letter.
fn name(node: usize, parents: &[u32], labels: &[u8]) -> Result<String, Unreadable> {
    let (mut node, mut key) = (node, Vec::new());
    while node > 0 {
        key.push(labels[node - 1]);
        node = parents[node] as usize;
        if key.len() > LONGEST {
            return Err(Unreadable::Damaged);
        }
    }
    key.reverse();
    let key = String::from_utf8(key).map_err(|_| Unreadable::Damaged)?;
    Ok(key.chars().rev().collect())
}

fn bit(words: &[u64], n: usize) -> bool {
    words
        .get(n / 64)
        .is_some_and(|word| word >> (n % 64) & 1 == 1)
}
