#include "segment/fields.h"

#include <algorithm>
#include <string>

namespace segmentd {
namespace {

// Calls descend(key) for each step of the path, until it returns false.
template <typename Descend>
void ForEachKey(std::string_view path, Descend descend) {
  for (size_t start = 0; start <= path.size();) {
    const size_t dot = std::min(path.find('.', start), path.size());
    std::string_view step = path.substr(start, dot - start);
    int lists = 0;
    for (; step.size() > 2 && step.substr(step.size() - 2) == "[]"; ++lists) step.remove_suffix(2);
    if (!descend(step)) return;
    for (; lists > 0; --lists) {
      if (!descend("[]")) return;
    }
    start = dot + 1;
  }
}

}  // namespace

Fields::Fields() : children_(1), keys_(1), nodes_(1) {}

FieldIndex Fields::add(std::string_view path) {
  uint32_t at = 0;
  uint32_t above = 0;
  ForEachKey(path, [&](std::string_view key) {
    uint32_t next = child(at, key);
    if (next == kNoNode) {
      next = static_cast<uint32_t>(nodes_.size());
      add_child(at, key);
    }
    if (at != 0) nodes_[above].nested = true;
    above = at;
    at = next;
    return true;
  });
  if (nodes_[at].field == kNone) {
    nodes_[at].field = size();
    paths_.emplace_back(path);
  }
  return nodes_[at].field;
}

void Fields::Place(Children* children, size_t hash, uint32_t node) {
  while (children->slots[hash & children->mask] != kNoNode) ++hash;
  children->slots[hash & children->mask] = node;
}

void Fields::add_child(uint32_t parent, std::string_view key) {
  const auto node = static_cast<uint32_t>(nodes_.size());
  nodes_.emplace_back();
  keys_.emplace_back(key);
  children_.emplace_back();
  Children& children = children_[parent];
  ++children.count;
  if (children.count > children.slots.size() / 2) {
    std::vector<uint32_t> slots(children.slots.size() * 4, kNoNode);
    slots.swap(children.slots);
    children.mask = children.slots.size() - 1;
    for (const uint32_t old : slots) {
      if (old != kNoNode) Place(&children, Hash(keys_[old]), old);
    }
  }
  Place(&children, Hash(key), node);
}

uint32_t Fields::find(uint32_t node, std::string_view path) const {
  ForEachKey(path, [&](std::string_view key) {
    node = child(node, key);
    return node != kNoNode;
  });
  return node;
}

}  // namespace segmentd
