#include "app/definition_files.h"

#include <algorithm>
#include <functional>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#include "api/references.h"
#include "api/server.h"
#include "app/console.h"
#include "segment/definition_check.h"
#include "segment/definition_text.h"
#include "segment/settings.h"

namespace segmentd {
namespace {

// 2,500 segments of some KiB each.
constexpr size_t kMaxFileBytes = 32 << 20;
// What a request holds beside its rules is far below the room left.
constexpr size_t kMaxInlinedBytes = kMaxReceivedBytes - (64 << 10);

void AddProblems(const std::string& place, const std::vector<Violation>& violations,
                 std::vector<DefinitionProblem>* problems) {
  for (const Violation& violation : violations) {
    problems->push_back({place, violation.path, violation.message});
  }
}

// Of segments that have no other problem.
void CheckReferences(const std::vector<segments::v1::Segment>& segments,
                     const std::vector<std::string>& places, References references,
                     std::vector<DefinitionProblem>* problems) {
  absl::flat_hash_map<std::string_view, const segments::v1::Segment*> by_id;
  for (const segments::v1::Segment& segment : segments) {
    if (!segment.id().empty()) by_id.emplace(segment.id(), &segment);
  }
  const auto find = [&by_id](std::string_view id) {
    const auto found = by_id.find(id);
    return found == by_id.end() ? nullptr : found->second;
  };
  for (size_t i = 0; i < segments.size(); ++i) {
    AddProblems(places[i], CheckCycles(segments[i], find), problems);
    if (references == References::kHereOrStored) continue;
    for (const Reference& reference : ReferencesOf(segments[i])) {
      if (find(reference.segment_id) != nullptr) continue;
      problems->push_back({places[i], reference.path,
                           absl::StrCat("there is no segment \"", reference.segment_id,
                                        "\" in what was given; add its definition")});
    }
  }
}

using Rules = absl::flat_hash_map<std::string, const segments::v1::Expression*>;

// Whether a request holds the segment with the rules in it.
bool Fits(const segments::v1::Segment& segment, const Rules& rules) {
  size_t bytes = segment.ByteSizeLong();
  for (const Reference& reference : ReferencesOf(segment)) {
    const auto rule = rules.find(reference.segment_id);
    if (rule != rules.end()) bytes += rule->second->ByteSizeLong();
    if (bytes > kMaxInlinedBytes) return false;
  }
  return true;
}

void Inline(const Rules& rules, segments::v1::Expression* expression) {
  if (const auto rule = rules.find(expression->in_segment()); rule != rules.end()) {
    *expression = *rule->second;
    return;
  }
  for (segments::v1::Expression& inner : *expression->mutable_all_of()) Inline(rules, &inner);
  for (segments::v1::Expression& inner : *expression->mutable_any_of()) Inline(rules, &inner);
  if (expression->has_not_()) Inline(rules, expression->mutable_not_());
}

}  // namespace

void InlineReferences(std::vector<segments::v1::Segment>* segments) {
  Rules rules;
  for (segments::v1::Segment& segment : *segments) {
    if (!segment.has_past_behavior() || !Fits(segment, rules)) continue;
    segments::v1::Segment with_rules = segment;
    Inline(rules, with_rules.mutable_past_behavior());
    // Each could be a multiple of those before it.
    if (!CheckSegment(with_rules).empty()) continue;
    segment = std::move(with_rules);
    if (!segment.id().empty()) rules.emplace(segment.id(), &segment.past_behavior());
  }
}

void SortByDependency(std::vector<segments::v1::Segment>* segments,
                      std::vector<std::string>* places) {
  absl::flat_hash_map<std::string_view, size_t> by_id;
  for (size_t i = 0; i < segments->size(); ++i) {
    if (!(*segments)[i].id().empty()) by_id.emplace((*segments)[i].id(), i);
  }
  std::vector<bool> visited(segments->size());
  std::vector<size_t> order;
  // A cycle, which is a problem of its own, ends at what was visited.
  const std::function<void(size_t)> visit = [&](size_t i) {
    if (visited[i]) return;
    visited[i] = true;
    for (const Reference& reference : ReferencesOf((*segments)[i])) {
      const auto found = by_id.find(reference.segment_id);
      if (found != by_id.end()) visit(found->second);
    }
    order.push_back(i);
  };
  for (size_t i = 0; i < segments->size(); ++i) visit(i);
  std::vector<segments::v1::Segment> sorted;
  sorted.reserve(segments->size());
  for (const size_t i : order) sorted.push_back(std::move((*segments)[i]));
  *segments = std::move(sorted);
  if (places == nullptr) return;
  std::vector<std::string> sorted_places;
  sorted_places.reserve(places->size());
  for (const size_t i : order) sorted_places.push_back(std::move((*places)[i]));
  *places = std::move(sorted_places);
}

absl::StatusOr<Definitions> ReadDefinitions(const std::vector<std::string>& files,
                                            References references) {
  Definitions definitions;
  if (std::count(files.begin(), files.end(), "-") > 1) {
    return absl::InvalidArgumentError("standard input can be read only once: give - once");
  }
  std::vector<std::string>& places = definitions.places;
  absl::flat_hash_map<std::string, std::string> place_by_id;
  for (const std::string& file : files) {
    const std::string name = file == "-" ? "standard input" : Printable(file);
    absl::StatusOr<std::string> text = ReadWhole(file, kMaxFileBytes);
    if (!text.ok()) return text.status();
    absl::StatusOr<std::vector<SegmentDocument>> documents = ReadSegmentDocuments(*text);
    if (!documents.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": ", documents.status().message()));
    }
    for (SegmentDocument& document : *documents) {
      const std::string place = absl::StrCat(name, ":", document.line);
      if (document.violations.empty()) document.violations = CheckSegment(document.segment);
      AddProblems(place, document.violations, &definitions.problems);
      const std::string& id = document.segment.id();
      if (!id.empty()) {
        const auto [earlier, added] = place_by_id.emplace(id, place);
        if (!added) {
          definitions.problems.push_back(
              {place, "id",
               absl::StrCat("\"", id, "\" stands at ", earlier->second,
                            " too; give each segment an ID of its own")});
        }
      }
      definitions.segments.push_back(std::move(document.segment));
      places.push_back(place);
    }
  }
  if (definitions.segments.empty()) {
    return absl::InvalidArgumentError("there is no segment in what was given");
  }
  if (definitions.segments.size() > kMaxSegments) {
    definitions.problems.push_back(
        {places[kMaxSegments], "",
         absl::StrCat("is one segment too many: ", definitions.segments.size(),
                      " are given, and at most ", kMaxSegments, " are allowed")});
  }
  if (definitions.problems.empty()) {
    CheckReferences(definitions.segments, places, references, &definitions.problems);
  }
  SortByDependency(&definitions.segments, &places);
  return definitions;
}

absl::Status ProblemsError(const std::vector<DefinitionProblem>& problems) {
  if (problems.empty()) return absl::OkStatus();
  std::string text;
  for (const DefinitionProblem& problem : problems) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", problem.place, ": ", problem.path,
                    problem.path.empty() ? "" : ": ", problem.message);
  }
  return absl::InvalidArgumentError(text);
}

}  // namespace segmentd
