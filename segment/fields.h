// The event properties that definitions refer to, as a tree that a decoder walks along with the
// event's JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "segment/event.h"
#include "segment/key_table.h"

namespace segmentd {

// Begins the path of what an event's context says: a common property, where a profile's is meant.
inline constexpr std::string_view kContextPrefix = "context.";

// Paths: "amount", "cart.id" (nested objects), "items[].sku" (a list of objects: the value is the
// list of the elements' values), "tags" (a list of scalars is a value). "context.…" reaches the
// body's context, all else its properties.
class Fields {
 public:
  struct Node {
    // kNone: no definition refers to this very path.
    FieldIndex field = kNone;
    // Some child has children.
    bool nested = false;
    // A key of this very name does not lead here: the elements of a list are no member, and among
    // the properties the body's context is out of reach.
    bool hidden = false;
  };
  static constexpr FieldIndex kNone = UINT32_MAX;
  static constexpr uint32_t kNoNode = KeyTable::kNone;

  Fields();
  // The index of `path`, added when new. Adding is for building; the rest is const and may be
  // shared by threads.
  FieldIndex add(std::string_view path);

  // Node 0 is the root.
  const Node& node(uint32_t index) const { return nodes_[index]; }
  // kNoNode when no definition refers to anything under this key.
  uint32_t child(uint32_t node, std::string_view key) const { return children_[node].find(key); }
  // Where `path` leads from `node` (from the root, as add() takes it); kNoNode when no definition
  // refers to anything there.
  uint32_t find(uint32_t node, std::string_view path) const;

  const std::string& path(FieldIndex field) const { return paths_[field]; }
  uint32_t size() const { return static_cast<uint32_t>(paths_.size()); }

 private:
  std::vector<Node> nodes_;
  // By node: the nodes under it by object key; the key of a list's elements is "[]".
  std::vector<KeyTable> children_;
  std::vector<std::string> paths_;
};

}  // namespace segmentd
