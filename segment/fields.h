// The event properties that definitions refer to, as a tree that a decoder walks along with the
// event's JSON.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "segment/event.h"

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
  };
  static constexpr FieldIndex kNone = UINT32_MAX;
  static constexpr uint32_t kNoNode = UINT32_MAX;

  Fields();
  // The index of `path`, added when new. Adding is for building; the rest is const and may be
  // shared by threads.
  FieldIndex add(std::string_view path);

  // Node 0 is the root.
  const Node& node(uint32_t index) const { return nodes_[index]; }
  // kNoNode when no definition refers to anything under this key.
  uint32_t child(uint32_t node, std::string_view key) const {
    const Children& children = children_[node];
    for (size_t at = Hash(key);; ++at) {
      const uint32_t found = children.slots[at & children.mask];
      if (found == kNoNode || keys_[found] == key) return found;
    }
  }
  // Where `path` leads from `node` (from the root, as add() takes it); kNoNode when no definition
  // refers to anything there.
  uint32_t find(uint32_t node, std::string_view path) const;

  const std::string& path(FieldIndex field) const { return paths_[field]; }
  uint32_t size() const { return static_cast<uint32_t>(paths_.size()); }

 private:
  // The nodes under a node by their keys, at least half of the slots kNoNode: open addressing with
  // linear probing. Every key of every event is looked up, most in vain.
  struct Children {
    size_t mask = 0;
    uint32_t count = 0;
    std::vector<uint32_t> slots = {kNoNode};
  };

  // Of a key's size and its first, middle and last eight bytes. Only definitions bring keys into
  // the table, so that events can't make it slow.
  static size_t Hash(std::string_view key) {
    uint64_t first = 0;
    uint64_t last = 0;
    if (key.size() >= 8) {
      std::memcpy(&first, key.data(), 8);
      std::memcpy(&last, key.data() + key.size() - 8, 8);
    } else if (key.size() >= 4) {
      std::memcpy(&first, key.data(), 4);
      std::memcpy(&last, key.data() + key.size() - 4, 4);
    } else if (!key.empty()) {
      first = static_cast<unsigned char>(key.front());
      last = static_cast<unsigned char>(key[key.size() / 2]) * uint64_t{256} +
             static_cast<unsigned char>(key.back());
    }
    uint64_t middle = 0;
    if (key.size() > 16) std::memcpy(&middle, key.data() + key.size() / 2 - 4, 8);
    return ((first ^ std::rotl(last, 29) ^ std::rotl(middle, 43) ^ key.size()) *
            0x9e3779b97f4a7c15) >>
           32;
  }
  static void Place(Children* children, size_t hash, uint32_t node);
  void add_child(uint32_t parent, std::string_view key);

  // By node, as are the other two.
  std::vector<Children> children_;
  // The object key that leads to a node; that of a list's elements is "[]".
  std::vector<std::string> keys_;
  std::vector<Node> nodes_;
  std::vector<std::string> paths_;
};

}  // namespace segmentd
