#include "api/references.h"

#include <algorithm>
#include <functional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "segment/expression_walk.h"

namespace segmentd {
namespace {

using segments::v1::Segment;

using Find = absl::FunctionRef<const Segment*(std::string_view id)>;

// The way from segment `from` to segment `to`, both included; empty when there is none.
bool FindWay(const std::string& from, std::string_view to, Find find,
             absl::flat_hash_set<std::string>* seen, std::vector<std::string>* way) {
  if (!seen->insert(from).second) return false;
  way->push_back(from);
  if (from == to) return true;
  if (const Segment* segment = find(from)) {
    for (const Reference& reference : ReferencesOf(*segment)) {
      if (FindWay(reference.segment_id, to, find, seen, way)) return true;
    }
  }
  way->pop_back();
  return false;
}

}  // namespace

std::vector<Reference> ReferencesOf(const Segment& segment) {
  std::vector<Reference> found;
  ForEachExpression(segment, [&](const std::string& path, const segments::v1::Expression& e) {
    if (!e.in_segment().empty()) {
      found.push_back({absl::StrCat(path, ".in_segment"), e.in_segment()});
    }
  });
  return found;
}

std::vector<Violation> CheckCycles(const Segment& segment, Find find) {
  std::vector<Violation> violations;
  // Nobody can refer to what has no ID.
  if (segment.id().empty()) return violations;
  for (const Reference& reference : ReferencesOf(segment)) {
    absl::flat_hash_set<std::string> seen;
    std::vector<std::string> way;
    if (!FindWay(reference.segment_id, segment.id(), find, &seen, &way)) continue;
    violations.push_back(
        {reference.path,
         absl::StrCat("makes the segment refer to itself: ", segment.id(), " -> ",
                      absl::StrJoin(way, " -> "), "; references must not form a cycle")});
  }
  return violations;
}

std::vector<Violation> CheckReferences(const Segment& segment, const StoredSegments& stored) {
  std::vector<Violation> violations =
      CheckCycles(segment, [&stored](std::string_view id) { return stored.Find(id); });
  for (const Reference& reference : ReferencesOf(segment)) {
    // To itself is a cycle.
    if (reference.segment_id == segment.id()) continue;
    if (stored.Find(reference.segment_id) == nullptr) {
      violations.push_back(
          {reference.path,
           absl::StrCat("there is no segment \"", reference.segment_id, "\"; create it first")});
    }
  }
  return violations;
}

std::vector<std::string> ReferrersFirst(const std::vector<std::string>& ids,
                                        const StoredSegments& stored) {
  const absl::flat_hash_set<std::string> wanted(ids.begin(), ids.end());
  absl::flat_hash_set<std::string> done;
  std::vector<std::string> order;
  const std::function<void(const std::string&)> visit = [&](const std::string& id) {
    if (!wanted.contains(id) || !done.insert(id).second) return;
    if (const Segment* segment = stored.Find(id)) {
      for (const Reference& reference : ReferencesOf(*segment)) visit(reference.segment_id);
    }
    order.push_back(id);
  };
  for (const std::string& id : ids) visit(id);
  std::reverse(order.begin(), order.end());
  return order;
}

}  // namespace segmentd
