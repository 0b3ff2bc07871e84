//! The entries by number.

use super::node::{Node, NodeId};

/// A table of entries, in the order in which they were made. A number is an index, so that looking one up costs the same
/// whether there are ten or ten thousand: settling looks up a dozen. It is never given out twice; one that is gone leaves
/// a word behind.
#[derive(Debug)]
pub struct Nodes {
    slots: Vec<Option<Box<Node>>>,
}

impl Nodes {
    /// No entries. Numbers begin at 1.
    #[must_use]
    pub fn new() -> Self {
        Self { slots: vec![None] }
    }

    /// Takes an entry in and numbers it.
    pub fn insert(&mut self, node: Node) -> NodeId {
        // Four thousand million chains of profiles do not fit in memory.
        let id = NodeId(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        self.slots.push(Some(Box::new(node)));
        id
    }

    /// The entry of this number.
    #[must_use]
    pub fn get(&self, id: NodeId) -> Option<&Node> {
        self.slots.get(id.0 as usize)?.as_deref()
    }

    /// The entry of this number.
    pub fn get_mut(&mut self, id: NodeId) -> Option<&mut Node> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }

    /// Takes an entry out.
    pub fn remove(&mut self, id: NodeId) -> Option<Box<Node>> {
        self.slots.get_mut(id.0 as usize)?.take()
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        (0..).map(NodeId).zip(&self.slots).filter_map(|(id, slot)| Some((id, slot.as_deref()?)))
    }

    /// All entries.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (NodeId, &mut Node)> {
        (0..).map(NodeId).zip(&mut self.slots).filter_map(|(id, slot)| Some((id, slot.as_deref_mut()?)))
    }

    /// All entries, without their numbers.
    pub fn values(&self) -> impl Iterator<Item = &Node> {
        self.slots.iter().filter_map(Option::as_deref)
    }

    /// All entries, without their numbers.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.slots.iter_mut().filter_map(Option::as_deref_mut)
    }
}

impl Default for Nodes {
    fn default() -> Self {
        Self::new()
    }
}
