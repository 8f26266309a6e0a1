// A snapshot of the stored segments, to look them up.
#pragma once

#include <algorithm>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/segments/v1/definition.pb.h"
#include "state/definition_log.h"

namespace segmentd {

class StoredSegments {
 public:
  explicit StoredSegments(const DefinitionLog& definitions) : all_(definitions.All()) {}

  // Sorted by ID, those being deleted included.
  const std::vector<segments::v1::Segment>& all() const { return *all_; }

  // Null for none. Segments being deleted are found by `FindAny` only: nobody can refer to them any
  // more.
  const segments::v1::Segment* FindAny(std::string_view id) const {
    const auto found = std::lower_bound(
        all_->begin(), all_->end(), id,
        [](const segments::v1::Segment& s, std::string_view i) { return s.id() < i; });
    return found == all_->end() || found->id() != id ? nullptr : &*found;
  }
  const segments::v1::Segment* Find(std::string_view id) const {
    const segments::v1::Segment* segment = FindAny(id);
    return segment == nullptr || Deleting(*segment) ? nullptr : segment;
  }

  static bool Deleting(const segments::v1::Segment& segment) {
    return segment.status() == segments::v1::SEGMENT_STATUS_DELETING;
  }

 private:
  std::shared_ptr<const std::vector<segments::v1::Segment>> all_;
};

}  // namespace segmentd
