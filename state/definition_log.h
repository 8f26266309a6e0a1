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

// Begins the etag of a record that can't be read or run; its offset follows. Those of others are
// hexadecimal digits.
inline constexpr std::string_view kRecordEtag = "offset-";

// Any thread may call.
class DefinitionLog {
 public:
  virtual ~DefinitionLog() = default;

  // All segments that are stored, sorted by ID, with `status` as of now. A snapshot that stays
  // valid. Where the stored record can't be read or run (UnfitRecord), it is shown as far as it is
  // known: its own definition or the last that could be read, no time of creation but a readable
  // record's, `version` one that no task runs a later one than, and `paused` as the tasks have it.
  virtual std::shared_ptr<const std::vector<segments::v1::Segment>> All() const = 0;

  // Writes segments (their IDs, versions, etags and times are set), and null segments as deletions,
  // acknowledged by the broker, in order; returns when this instance has read them back, so that
  // All() shows them. FAILED_PRECONDITION when what was stored, and run here, was lost. One writer
  // at a time: the caller holds a lock over reading and writing.
  struct Write {
    std::string id;
    std::optional<segments::v1::Segment> segment;
  };
  virtual absl::Status Append(const std::vector<Write>& writes, absl::Time deadline) = 0;

  // Waits until every running task of this instance has applied `version` of the segment (or its
  // deletion, for version 0). False when the deadline came first.
  virtual bool WaitApplied(std::string_view id, int64_t version, absl::Time deadline) = 0;
  // Whether `version` of the segment, unless it is paused, waits in some task of this instance
  // until the one that runs there is built.
  virtual bool WaitsForBuild(std::string_view id, int64_t version) const = 0;
};

// Whether the segment is shown in place of a record that can't be read or run: that record was not
// written here, and nothing that it says is to be relied on.
inline bool UnfitRecord(const segments::v1::Segment& segment) {
  return segment.status() == segments::v1::SEGMENT_STATUS_INVALID &&
         segment.etag().starts_with(kRecordEtag);
}

}  // namespace segmentd
