// Goes through the expression of a segment: its past behaviour, or the filter of a live one.
#pragma once

#include <string>

#include "absl/functional/function_ref.h"

#include "proto/segments/v1/definition.pb.h"

namespace segmentd {

// Calls `visit` for each node, parents first, with its path ("past_behavior.all_of[1]"). The depth
// is bounded by the Protobuf parser's 100.
void ForEachExpression(
    const segments::v1::Segment& segment,
    absl::FunctionRef<void(const std::string& path, const segments::v1::Expression&)> visit);

}  // namespace segmentd
