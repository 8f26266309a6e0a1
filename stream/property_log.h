// The values that the walk through a body finds, in the order of the body, and at its end,
// gathered: one value for a property, a list where there were several.
//
// A key that comes twice in one object voids what came of it before: the last wins, as in every
// common JSON parser. An object is told by its scope: the elements of a list lead to the same
// places, each in a scope of its own.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "segment/event.h"
#include "segment/value.h"

namespace segmentd {

class PropertyLog {
 public:
  enum class Kind : uint8_t {
    // A scalar that stands alone.
    kOnly,
    // A scalar in a list.
    kItem,
    // No value: that there is a list or an object, be it empty.
    kPresent,
  };

  void clear() {
    found_.clear();
    gathering_ = false;
    dropped_ = 0;
  }
  uint32_t size() const { return static_cast<uint32_t>(found_.size()); }

  // Without what was voided.
  uint32_t left() const { return size() - dropped_; }

  // What is added until leave() comes of this place. Scopes are above 0, and new for each object.
  void enter(uint32_t place, uint64_t scope) {
    if (place >= places_.size()) grow(place);
    Place& p = places_[place];
    if (p.scope == scope) drop(p.begin, p.end);
    const uint32_t here = size();
    p.scope = scope;
    p.begin = here;
    p.end = here;
  }
  void leave(uint32_t place) { places_[place].end = size(); }

  void add(uint32_t target, Kind kind, Value value,
           ProfileOperation operation = ProfileOperation::kSet) {
    gathering_ |= kind != Kind::kOnly;
    const uint32_t position = size();
    // Made in its place: a copy would wait for the writes of its parts.
    Found& f = found_.emplace_back();
    f.target = target;
    f.position = position;
    f.kind = kind;
    f.operation = operation;
    f.value = value;
  }

  // Voids what was added in [begin, end).
  void drop(uint32_t begin, uint32_t end);

  // Calls emit(target, operation, value) for each target, and for each run of one operation on it.
  // The values are valid until the next record. May be called once.
  template <typename Emit>
  void gather(Emit emit) {
    if (!gathering_) {
      for (const Found& f : found_) emit(f.target, f.operation, f.value);
      return;
    }
    sort();
    for (auto first = found_.begin(); first != found_.end();) {
      const auto last = std::find_if(first, found_.end(), [first](const Found& f) {
        return f.target != first->target || f.operation != first->operation;
      });
      if (last - first == 1 && first->kind == Kind::kOnly) {
        emit(first->target, first->operation, first->value);
      } else {
        const size_t begin = items_.size();
        for (auto f = first; f != last; ++f) {
          if (f->kind != Kind::kPresent) items_.push_back(f->value);
        }
        emit(first->target, first->operation,
             Value::List({items_.data() + begin, items_.size() - begin}));
      }
      first = last;
    }
  }

 private:
  struct Found {
    uint32_t target = 0;
    uint32_t position = 0;
    Kind kind = Kind::kOnly;
    ProfileOperation operation = ProfileOperation::kSet;
    bool dropped = false;
    Value value;
  };
  struct Place {
    uint64_t scope = 0;
    uint32_t begin = 0;
    uint32_t end = 0;
  };

  void grow(uint32_t place);
  // By target, then in the order of the body, without what was voided; and room for all items, so
  // that none moves.
  void sort();

  std::vector<Found> found_;
  std::vector<Place> places_;
  std::vector<Value> items_;
  uint32_t dropped_ = 0;
  // A list or a voided value is among those found.
  bool gathering_ = false;
};

}  // namespace segmentd
