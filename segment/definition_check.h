// Whether a definition can be run, with every reason why not.
#pragma once

#include <string>
#include <vector>

#include "proto/segments/v1/definition.pb.h"

namespace segmentd {

struct Violation {
  // Proto field names with list indexes: "live.actions.any_of[1].where[0].matches". Empty: the
  // segment itself.
  std::string path;
  // What is wrong and what is allowed.
  std::string message;
  // Right by the contract, but this version can't run it: UNIMPLEMENTED rather than
  // INVALID_ARGUMENT.
  bool unimplemented = false;
};

// Everything but what depends on other segments (a taken ID, references); at most 100. Empty: the
// segment can be compiled.
//
// A condition, of which a definition has at most 100, is a property with its operator, a did, a
// did_not or an in_segment; events are bounded on their own. An expression alone has one level of
// the 8, and each all_of, any_of and not adds one.
std::vector<Violation> CheckSegment(const segments::v1::Segment& segment);

}  // namespace segmentd
