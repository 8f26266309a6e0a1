// How segments refer to each other by `in_segment`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"

#include "api/stored_segments.h"
#include "proto/segments/v1/definition.pb.h"
#include "segment/definition_check.h"

namespace segmentd {

struct Reference {
  // Of the `in_segment` field: "past_behavior.all_of[1].in_segment".
  std::string path;
  std::string segment_id;
};

std::vector<Reference> ReferencesOf(const segments::v1::Segment& segment);

// References by which `segment` would refer to itself, on the ways that lead over the segments that
// `find` knows (null for others); each message names the whole cycle.
std::vector<Violation> CheckCycles(
    const segments::v1::Segment& segment,
    absl::FunctionRef<const segments::v1::Segment*(std::string_view id)> find);

// References to segments that don't exist, and those by which `segment` would refer to itself.
std::vector<Violation> CheckReferences(const segments::v1::Segment& segment,
                                       const StoredSegments& stored);

// The given segments, each before those it refers to. What it refers to outside of `ids` is left
// alone.
std::vector<std::string> ReferrersFirst(const std::vector<std::string>& ids,
                                        const StoredSegments& stored);

}  // namespace segmentd
