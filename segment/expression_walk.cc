#include "segment/expression_walk.h"

#include "absl/strings/str_cat.h"

namespace segmentd {
namespace {

using segments::v1::Expression;
using Visit = absl::FunctionRef<void(const std::string& path, const Expression&)>;

void Walk(const Expression& expression, const std::string& path, Visit visit) {
  visit(path, expression);
  for (int i = 0; i < expression.all_of_size(); ++i) {
    Walk(expression.all_of(i), absl::StrCat(path, ".all_of[", i, "]"), visit);
  }
  for (int i = 0; i < expression.any_of_size(); ++i) {
    Walk(expression.any_of(i), absl::StrCat(path, ".any_of[", i, "]"), visit);
  }
  if (expression.has_not_()) Walk(expression.not_(), absl::StrCat(path, ".not"), visit);
}

}  // namespace

void ForEachExpression(const segments::v1::Segment& segment, Visit visit) {
  if (segment.live().has_filter()) Walk(segment.live().filter(), "live.filter", visit);
  if (segment.has_past_behavior()) Walk(segment.past_behavior(), "past_behavior", visit);
}

}  // namespace segmentd
