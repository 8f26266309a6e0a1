// What the commands of `segctl segment` share, and those that have a source of their own:
// segctl_segment.cc holds all others and the options of all.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "app/connection.h"
#include "app/console.h"
#include "app/definition_files.h"
#include "app/exit_status.h"
#include "app/segctl.h"
#include "app/segment_calls.h"
#include "proto/segments/v1/definition.pb.h"

namespace segmentd {

struct SegmentOptions {
  std::vector<std::string> files;
  std::vector<std::string> ids;
  std::string id;
  std::string etag;
  bool force = false;
  bool local = false;
  std::string new_id;
  std::string new_name;
  std::string search;
  std::vector<std::string> types;
  std::vector<std::string> statuses;
  std::string created_by;
  std::string updated_by;
  std::string created_from;
  std::string created_to;
  std::string order_by;
  int64_t limit = 0;
};

// Reads definitions and connects, or complains.
template <typename Work>
ExitStatus WithDefinitions(const GlobalOptions& global, const std::vector<std::string>& files,
                           Work work) {
  absl::StatusOr<Definitions> definitions = ReadDefinitions(files);
  if (!definitions.ok()) return Complain(definitions.status());
  if (absl::Status problems = ProblemsError(definitions->problems); !problems.ok()) {
    return Complain(problems);
  }
  absl::StatusOr<Connection> connection = Connection::Open(global);
  if (!connection.ok()) return Complain(connection.status());
  SegmentCalls calls(*std::move(connection));
  return work(calls, *definitions);
}

// Connects, or complains.
template <typename Work>
ExitStatus WithServer(const GlobalOptions& global, Work work) {
  absl::StatusOr<Connection> connection = Connection::Open(global);
  if (!connection.ok()) return Complain(connection.status());
  SegmentCalls calls(*std::move(connection));
  return work(calls);
}

// "created  cart-left  Added to cart …  version 1, active"
void PrintDone(const GlobalOptions& global, std::string_view verb,
               const segments::v1::Segment& segment);

// segctl_segment_list.cc
ExitStatus ListSegments(const GlobalOptions& global, const SegmentOptions& options);
// segctl_segment_validate.cc
ExitStatus ValidateSegments(const GlobalOptions& global, const SegmentOptions& options);
// segctl_segment_apply.cc
ExitStatus ApplySegments(const GlobalOptions& global, const SegmentOptions& options);
ExitStatus DiffSegments(const GlobalOptions& global, const SegmentOptions& options);
// segctl_segment_export.cc
ExitStatus ExportSegments(const GlobalOptions& global, const SegmentOptions& options);
// segctl_segment_estimate.cc
ExitStatus EstimateSegments(const GlobalOptions& global, const SegmentOptions& options);
// segctl_segment_watch.cc
ExitStatus WatchSegment(const GlobalOptions& global, const SegmentOptions& options);

}  // namespace segmentd
