//! The index over the paths of one host: cost follows the length of the path, not the number of matches.
//!
//! Exact paths and prefixes share one tree of segments, kept in flat arrays:
//!
//! ```text
//!  matches            tree               path /api/v1/x
//!  0 exact  /api/v1   ""                 "" -> below: 3
//!  1 prefix /api/v1    `- api            api -> at: 2
//!  2 prefix /api           `- v1         v1 -> at: 1   (exact 0 only if the path ended here)
//!  3 prefix /                            x  -> no such child: done
//! ```
//!
//! The walk hashes every segment once and ends at the first segment that no configured path has. Regular expressions
//! are asked last, and only if one of them could beat what the tree gave.

use std::hash::Hasher;

use rustc_hash::{FxHashMap, FxHasher};

use super::RequestView;
use super::conditions::hold;
use super::regexes::RegexIndex;
use crate::model::{Match, PathMatch};

/// A position in `Host.matches`.
pub(super) type Rank = u32;

/// The paths of one host.
#[derive(Debug)]
pub(super) struct PathIndex {
    /// `nodes[0]` stands before the first segment, `nodes[1]` for the empty segment before the first slash.
    nodes: Box<[Node]>,
    /// Open addressing by hash of parent and segment; a power of two, at most half full.
    slots: Box<[u32]>,
    /// The segments of all nodes, one after another.
    text: Box<[u8]>,
    /// The ranks of all nodes, one after another; each list ascends.
    ranks: Box<[Rank]>,
    regexes: Option<RegexIndex>,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    segment: (u32, u32),
    /// Where its lists start in `ranks`: prefixes without final slash, prefixes with it, exact paths, and the end.
    lists: [u32; 4],
}

const BEFORE: u32 = 0;
const ROOT: u32 = 1;
const FREE: u32 = u32::MAX;

impl PathIndex {
    /// Indexes the matches of a host.
    pub(super) fn build(matches: &[Match]) -> Self {
        let mut tree = Tree::default();
        tree.child(BEFORE, "");
        let mut patterns = Vec::new();
        for (rank, matched) in (0..).zip(matches) {
            match &matched.path {
                PathMatch::Exact(path) => tree.add(path, rank, |lists| &mut lists.exact),
                PathMatch::Prefix(prefix) => match prefix.as_str().strip_suffix('/') {
                    Some(parent) => tree.add(parent, rank, |lists| &mut lists.below),
                    None => tree.add(prefix.as_str(), rank, |lists| &mut lists.at),
                },
                PathMatch::Regex(pattern) => patterns.push((rank, pattern)),
            }
        }
        let regexes = (!patterns.is_empty()).then(|| RegexIndex::build(&patterns));
        tree.flatten(regexes)
    }

    /// The lowest rank that serves the request.
    pub(super) fn find(&self, matches: &[Match], request: &RequestView<'_>) -> Option<Rank> {
        let holds = |rank: Rank| matches.get(rank as usize).is_some_and(|matched| hold(matched, request));
        let mut best = None;
        let mut consider = |ranks: &[Rank]| {
            let below = |rank: &&Rank| best.is_none_or(|best| **rank < best);
            if let Some(rank) = ranks.iter().take_while(below).find(|rank| holds(**rank)) {
                best = Some(*rank);
            }
        };
        let path = request.path.as_bytes();
        let (mut at, mut rest) = match path.strip_prefix(b"/") {
            Some(rest) => (self.node(ROOT), Some(rest)),
            None => (self.node(BEFORE), Some(path)),
        };
        while let (Some((id, node)), Some(path)) = (at, rest) {
            consider(self.list(node, 1));
            let (segment, after) = cut(path);
            at = self.child(id, segment);
            rest = after;
            if let Some((_, child)) = at {
                consider(self.list(child, 0));
                if rest.is_none() {
                    consider(self.list(child, 2));
                }
            }
        }
        match &self.regexes {
            Some(regexes) => regexes.find(request.path, best, holds),
            None => best,
        }
    }

    fn node(&self, id: u32) -> Option<(u32, &Node)> {
        Some((id, self.nodes.get(id as usize)?))
    }

    fn list(&self, node: &Node, list: usize) -> &[Rank] {
        let bound = |at: usize| node.lists.get(at).map_or(0, |bound| *bound as usize);
        self.ranks.get(bound(list)..bound(list + 1)).unwrap_or_default()
    }

    fn child(&self, parent: u32, segment: &[u8]) -> Option<(u32, &Node)> {
        let mask = self.slots.len() - 1;
        let mut slot = hash(parent, segment) & mask;
        loop {
            let id = *self.slots.get(slot)?;
            let node = self.nodes.get(id as usize)?; // FREE is no node.
            let (start, end) = node.segment;
            if node.parent == parent && self.text.get(start as usize..end as usize) == Some(segment) {
                return Some((id, node));
            }
            slot = (slot + 1) & mask;
        }
    }
}

/// The first segment, and what follows its slash. Segments are short: a plain loop beats a vectorized search.
fn cut(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match path.iter().position(|byte| *byte == b'/').and_then(|at| path.split_at_checked(at)) {
        Some((segment, after)) => (segment, after.get(1..)),
        None => (path, None),
    }
}

fn hash(parent: u32, segment: &[u8]) -> usize {
    let mut hasher = FxHasher::default();
    hasher.write(segment);
    hasher.write_u32(parent);
    // The mask takes what it needs; on 32 bits the upper half is not needed.
    hasher.finish() as usize
}

/// The tree while it grows.
#[derive(Default)]
struct Tree<'m> {
    ids: FxHashMap<(u32, &'m str), u32>,
    nodes: Vec<(u32, &'m str, Lists)>,
}

#[derive(Default)]
struct Lists {
    at: Vec<Rank>,
    below: Vec<Rank>,
    exact: Vec<Rank>,
}

impl<'m> Tree<'m> {
    fn child(&mut self, parent: u32, segment: &'m str) -> u32 {
        if self.nodes.is_empty() {
            self.nodes.push((FREE, "", Lists::default()));
        }
        *self.ids.entry((parent, segment)).or_insert_with(|| {
            self.nodes.push((parent, segment, Lists::default()));
            // A manifest is far too small for 2^32 segments; beyond them paths would stop to match, nothing worse.
            u32::try_from(self.nodes.len() - 1).unwrap_or(FREE)
        })
    }

    fn add(&mut self, path: &'m str, rank: Rank, list: fn(&mut Lists) -> &mut Vec<Rank>) {
        let id = path.split('/').fold(BEFORE, |parent, segment| self.child(parent, segment));
        if let Some((_, _, lists)) = self.nodes.get_mut(id as usize) {
            list(lists).push(rank);
        }
    }

    fn flatten(self, regexes: Option<RegexIndex>) -> PathIndex {
        let mut text = Vec::new();
        let mut ranks: Vec<Rank> = Vec::new();
        let mut nodes = Vec::with_capacity(self.nodes.len());
        let mut slots = vec![FREE; (self.nodes.len() * 2).next_power_of_two()];
        let mask = slots.len() - 1;
        let offset = |length: usize| u32::try_from(length).unwrap_or(FREE);
        for ((parent, segment, lists), id) in self.nodes.into_iter().zip(0u32..) {
            let start = offset(text.len());
            text.extend_from_slice(segment.as_bytes());
            let mut bounds = [offset(ranks.len()); 4];
            for (list, bound) in [lists.at, lists.below, lists.exact].into_iter().zip(bounds.iter_mut().skip(1)) {
                ranks.extend(list);
                *bound = offset(ranks.len());
            }
            nodes.push(Node { parent, segment: (start, offset(text.len())), lists: bounds });
            let mut slot = hash(parent, segment.as_bytes()) & mask;
            while let Some(taken) = slots.get_mut(slot) {
                if *taken == FREE {
                    *taken = id;
                    break;
                }
                slot = (slot + 1) & mask;
            }
        }
        PathIndex { nodes: nodes.into(), slots: slots.into(), text: text.into(), ranks: ranks.into(), regexes }
    }
}
