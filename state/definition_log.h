// The segments as topic `segment-definitions` holds them, and how far the running tasks have
// applied them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

#include "proto/segments/v1/definition.pb.h"

namespace segmentd {

// Any thread may call.
class DefinitionLog {
 public:
  virtual ~DefinitionLog() = default;

  // All segments that are stored, sorted by ID, with `status` as of now. A snapshot that stays
  // valid.
  virtual std::shared_ptr<const std::vector<segments::v1::Segment>> All() const = 0;

  // Writes segments (their IDs, versions, etags and times are set), and null segments as deletions,
  // acknowledged by the broker, in order; returns when this instance has read them back, so that
  // All() shows them. One writer at a time: the caller holds a lock over reading and writing.
  struct Write {
    std::string id;
    std::optional<segments::v1::Segment> segment;
  };
  virtual absl::Status Append(const std::vector<Write>& writes, absl::Time deadline) = 0;

  // Waits until every running task of this instance has applied `version` of the segment (or its
  // deletion, for version 0). False when the deadline came first.
  virtual bool WaitApplied(std::string_view id, int64_t version, absl::Time deadline) = 0;
};

}  // namespace segmentd
