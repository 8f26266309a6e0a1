// Segments from definition files, in the order in which they can be created.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "proto/segments/v1/definition.pb.h"

namespace segmentd {

struct DefinitionProblem {
  // "cart.yaml:12"
  std::string place;
  // "live.inaction.within"; may be empty.
  std::string path;
  std::string message;
};

struct Definitions {
  // A segment that others refer to stands before them; else in the order of the files.
  std::vector<segments::v1::Segment> segments;
  // "cart.yaml:12", of each segment.
  std::vector<std::string> places;
  std::vector<DefinitionProblem> problems;
};

// Where segments that others refer to may be.
enum class References { kHereOrStored, kHere };

// All documents of the files ("-" is standard input), checked as far as that needs no server. An
// error where a file can't be read or is no YAML or JSON at all, or where there is no document.
absl::StatusOr<Definitions> ReadDefinitions(const std::vector<std::string>& files,
                                            References references = References::kHereOrStored);

// Puts the rules of past-behaviour segments in the place of the in_segment by which the others
// refer to them, which says the same, as far as a definition and a request may hold it. `segments`
// are sorted by dependency.
void InlineReferences(std::vector<segments::v1::Segment>* segments);

// The problems as an error for people, one a line; OK without any.
absl::Status ProblemsError(const std::vector<DefinitionProblem>& problems);

// A segment that others refer to comes before them; else the order stays. `places`, one for each
// segment, may be null.
void SortByDependency(std::vector<segments::v1::Segment>* segments,
                      std::vector<std::string>* places);

}  // namespace segmentd
