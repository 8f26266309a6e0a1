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

Fields::Fields() : nodes_(1), children_(1) {}

FieldIndex Fields::add(std::string_view path) {
  uint32_t at = 0;
  uint32_t above = 0;
  ForEachKey(path, [&](std::string_view key) {
    const auto added = static_cast<uint32_t>(nodes_.size());
    const uint32_t next = children_[at].add(key, added);
    if (next == added) {
      nodes_.emplace_back();
      nodes_.back().hidden =
          at == 0 ? key == "context" || key.starts_with("context[") : key == "[]";
      children_.emplace_back();
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

uint32_t Fields::find(uint32_t node, std::string_view path) const {
  ForEachKey(path, [&](std::string_view key) {
    node = child(node, key);
    return node != kNoNode;
  });
  return node;
}

}  // namespace segmentd
