// Which atoms an event meets. Each distinct predicate is tested at most once an event, however many
// atoms share it.
#pragma once

#include <cstdint>
#include <vector>

#include "segment/compiled_rules.h"
#include "segment/event.h"

namespace segmentd {

struct Hit {
  uint32_t atom = 0;
  // Of the property that the atom needs; 0 when it is missing or none is needed.
  uint64_t value = 0;
};

class Matcher {
 public:
  // `rules` outlives the matcher.
  explicit Matcher(const RuleSet::Compiled& rules);

  // Valid until the next call.
  void match(const Event& event);
  const std::vector<Hit>& hits() const { return hits_; }
  void clear() { hits_.clear(); }

 private:
  const Value& property(FieldIndex field) const;
  bool holds(uint32_t test, Time now);
  void try_atom(uint32_t atom, Time now);
  void try_pivot(const EventIndex::Pivot& pivot, const Value& value, Time now);

  struct Property {
    uint32_t event = 0;
    Value value;
  };
  struct Outcome {
    uint32_t event = 0;
    bool holds = false;
  };

  const RuleSet::Compiled* rules_;
  // Marks what belongs to the present event, so that nothing is cleared between events.
  uint32_t event_ = 0;
  std::vector<Property> properties_;
  std::vector<Outcome> outcomes_;
  std::vector<uint32_t> tried_;
  std::vector<Hit> hits_;
};

}  // namespace segmentd
