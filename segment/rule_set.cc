#include "segment/rule_set.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <queue>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "segment/absl_view.h"
#include "segment/compiled_rules.h"
#include "segment/definition_check.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

// Whether an expression holds for a user of whom nothing is known.
bool Begins(const Rule& rule, uint32_t index) {
  const ExpressionNode& node = rule.expression[index];
  switch (node.kind) {
    case ExpressionNode::Kind::kAllOf:
    case ExpressionNode::Kind::kAnyOf: {
      const bool decides = node.kind == ExpressionNode::Kind::kAnyOf;
      for (uint32_t child = index + 1; child < node.end; child = rule.expression[child].end) {
        if (Begins(rule, child) == decides) return decides;
      }
      return !decides;
    }
    case ExpressionNode::Kind::kNot:
      return !Begins(rule, index + 1);
    case ExpressionNode::Kind::kProperty:
      return node.predicate.holds(Value(), Time());
    case ExpressionNode::Kind::kDid:
      return std::all_of(rule.measures.begin() + node.first_measure,
                         rule.measures.begin() + node.end_measure,
                         [](const Measure& m) { return m.holds(MeasureState(), Time()); });
    case ExpressionNode::Kind::kInSegment:
      return false;
  }
  return false;
}

// Collects tests and atoms, each once, while the definitions go by.
class Compiler {
 public:
  explicit Compiler(RuleSet::Compiled& out) : out_(out) {}

  absl::Status add(const ActiveSegment& active) {
    const pb::Segment& segment = active.segment;
    Rule rule;
    rule.runs = true;
    rule.built = active.built;
    rule.slot = active.slot;
    rule.version = static_cast<int32_t>(segment.version());
    rule.activation_offset = active.activation_offset;
    rule.history_offset = active.history_offset;
    rule.activation_clock = active.activation_clock;
    const pb::Live& live = segment.live();
    absl::Status added;
    if (segment.has_past_behavior()) {
      rule.kind = Rule::Kind::kPast;
      out_.has_past = true;
      added = add_expression(segment.past_behavior(), rule);
    } else if (live.has_filter()) {
      added = add_expression(live.filter(), rule);
    }
    if (!added.ok()) return added;
    if (segment.has_past_behavior()) {
      // Nothing else.
    } else if (live.has_date_time()) {
      added = add_date_time(live, rule);
    } else if (live.has_sequence()) {
      added = add_sequence(live, rule);
    } else if (live.has_actions()) {
      added = add_actions(live, rule);
    } else if (live.has_inaction()) {
      added = add_inaction(live, rule);
    } else if (live.has_page_visit()) {
      added = add_page_visit(live, rule);
    } else if (live.has_referrer()) {
      added = add_referrer(live, rule);
    } else {
      added = add_page_count(live, rule);
    }
    if (!added.ok()) return added;
    if (collision_) {
      return absl::InternalError("two conditions share a fingerprint; reword one of them");
    }
    if (!rule.built && rule.kind != Rule::Kind::kPast) {
      const ActivationPoint earlier =
          out_.building.value_or(ActivationPoint{rule.activation_offset, rule.activation_clock});
      out_.building = {std::min(earlier.offset, rule.activation_offset),
                       std::min(earlier.clock, rule.activation_clock)};
    }
    rule.order_free = rule.kind == Rule::Kind::kActions && rule.exit == Rule::Exit::kNever &&
                      rule.expression.empty() && !rule.repeat && rule.built;
    out_.rules[active.slot] = std::move(rule);
    return absl::OkStatus();
  }

  // The references between segments, when all rules are there.
  absl::Status resolve() {
    std::vector<std::vector<Slot>> outer(out_.rules.size());
    std::vector<uint32_t> inner(out_.rules.size(), 0);
    // Deleted from under those that refer to it: its members are that until they are removed.
    absl::flat_hash_map<std::string_view, Slot> deleting;
    for (const ActiveSegment& segment : out_.segments) {
      if (segment.deleting) deleting.emplace(segment.segment.id(), segment.slot);
    }
    const auto find = [&](const std::string& id) {
      const auto it = out_.by_id.find(id);
      if (it != out_.by_id.end()) return it->second->slot;
      const auto ending = deleting.find(id);
      return ending != deleting.end() ? ending->second : kNoSlot;
    };
    for (const Reference& reference : references_) {
      Rule& rule = out_.rules[reference.slot];
      ExpressionNode& node = rule.expression[reference.node];
      if (rule.kind != Rule::Kind::kPast && !rule.follows) {
        rule.follows = true;
        out_.following.push_back(rule.slot);
      }
      node.slot = find(reference.id);
      if (node.slot == kNoSlot) {
        rule.lacks_inner = true;
        continue;
      }
      outer[node.slot].push_back(rule.slot);
      ++inner[rule.slot];
      out_.rules[node.slot].outer.push_back(rule.slot);
      // Who refers to it is folded again with it.
      if (std::exchange(out_.rules[node.slot].order_free, false)) {
        out_.rules[node.slot].kept_for_others = true;
        out_.kept_for_others.push_back(node.slot);
      }
      rule.inner.push_back(node.slot);
      std::vector<Slot>& dependents = out_.rules[node.slot].dependents;
      if (rule.kind == Rule::Kind::kPast &&
          std::find(dependents.begin(), dependents.end(), rule.slot) == dependents.end()) {
        dependents.push_back(rule.slot);
      }
    }
    // Kahn 1962; of those that are free the lowest slot is next, so that ranks are slots where
    // nothing refers to anything.
    std::priority_queue<Slot, std::vector<Slot>, std::greater<>> free;
    for (Slot slot = 0; slot < inner.size(); ++slot) {
      if (inner[slot] == 0) free.push(slot);
    }
    out_.by_rank.reserve(inner.size());
    while (!free.empty()) {
      const Slot slot = free.top();
      free.pop();
      Rule& rule = out_.rules[slot];
      rule.rank = static_cast<uint32_t>(out_.by_rank.size());
      out_.by_rank.push_back(slot);
      if (rule.kind == Rule::Kind::kPast && rule.runs && rule.built && Begins(rule, 0)) {
        out_.past.push_back(slot);
      }
      for (Slot next : outer[slot]) {
        if (--inner[next] == 0) free.push(next);
      }
    }
    if (out_.by_rank.size() == inner.size()) {
      find_settled();
      return absl::OkStatus();
    }
    const auto cyclic = std::find_if(inner.begin(), inner.end(), [](uint32_t n) { return n > 0; });
    const auto& segment = out_.by_slot[static_cast<size_t>(cyclic - inner.begin())]->segment;
    return absl::InvalidArgumentError(
        absl::StrCat("segment ", segment.id(), ": in_segment references go in a circle"));
  }

  // What Settled is about.
  void find_settled() {
    std::vector<Slot> slots = out_.following;
    for (size_t i = 0; i < slots.size(); ++i) {
      for (Slot slot : out_.rules[slots[i]].inner) {
        Rule& inner = out_.rules[slot];
        if (std::exchange(inner.followed, true)) continue;
        slots.push_back(slot);
        if (inner.runs && inner.kind == Rule::Kind::kPast) out_.followed_past.push_back(slot);
      }
    }
    find_followed_since();
    for (const ActiveSegment& segment : out_.segments) {
      const Rule& rule = out_.rules[segment.slot];
      if (!rule.follows && !rule.followed) continue;
      const ActivationPoint change{segment.changed_offset, segment.changed_clock};
      out_.settled_before = std::max(out_.settled_before, change);
      out_.settled_change_number = std::max(out_.settled_change_number, segment.change_number);
    }
  }

  void find_followed_since() {
    std::vector<std::optional<ActivationPoint>> since(out_.rules.size());
    for (Slot slot : out_.by_rank) {
      Rule& rule = out_.rules[slot];
      if (!rule.runs) {
        // What is paused stands still, of whatever kind.
        const ActiveSegment* segment = out_.by_slot[slot];
        if (segment != nullptr && !segment->deleting) {
          since[slot] = ActivationPoint{segment->changed_offset, segment->changed_clock};
        }
        continue;
      }
      // Since when a segment is gone is not known.
      std::optional<ActivationPoint> latest;
      if (!rule.lacks_inner) latest = {rule.activation_offset, rule.activation_clock};
      for (Slot inner : rule.inner) {
        latest =
            latest && since[inner] ? std::optional(std::max(*latest, *since[inner])) : std::nullopt;
      }
      if (rule.kind == Rule::Kind::kPast) since[slot] = latest;
      if (!rule.follows || !latest) continue;
      rule.follows_past = true;
      rule.followed_since = *latest;
      if (!rule.built) out_.waiting.push_back(slot);
    }
  }

  // The index by event name and pivot, when all atoms are there.
  void index() {
    for (Atom& atom : out_.atoms) {
      atom.measured = std::any_of(atom.subscriptions.begin(), atom.subscriptions.end(),
                                  [](const Subscription& s) { return s.roles == kMeasured; });
      atom.kept =
          std::any_of(atom.subscriptions.begin(), atom.subscriptions.end(),
                      [&](const Subscription& s) { return !out_.rules[s.slot].order_free; });
    }
    // The field that most equalities of an event name share is its pivot, so that few look-ups find
    // all candidates.
    absl::flat_hash_map<std::string, absl::flat_hash_map<FieldIndex, int>> uses;
    for (const Atom& atom : out_.atoms) {
      for (uint32_t test : atom.tests) {
        if (is_pivot(test)) ++uses[atom.event][out_.tests[test].field];
      }
    }
    for (uint32_t i = 0; i < out_.atoms.size(); ++i) {
      const Atom& atom = out_.atoms[i];
      const auto next = static_cast<uint32_t>(out_.events.size());
      const uint32_t place = out_.event_names.add(atom.event, next);
      if (place == next) out_.events.emplace_back();
      EventIndex& event = out_.events[place];
      std::optional<uint32_t> pivot;
      for (uint32_t test : atom.tests) {
        if (!is_pivot(test)) continue;
        if (!pivot ||
            uses[atom.event][out_.tests[test].field] > uses[atom.event][out_.tests[*pivot].field]) {
          pivot = test;
        }
      }
      if (!pivot) {
        event.unpivoted.push_back(i);
        continue;
      }
      const FieldIndex field = out_.tests[*pivot].field;
      auto of_field = std::find_if(event.pivots.begin(), event.pivots.end(),
                                   [&](const EventIndex::Pivot& p) { return p.field == field; });
      if (of_field == event.pivots.end()) {
        event.pivots.push_back({field, {}});
        of_field = std::prev(event.pivots.end());
      }
      for (uint64_t value : out_.tests[*pivot].predicate.equal_to()) {
        of_field->atoms[value].push_back(i);
      }
    }
  }

 private:
  bool is_pivot(uint32_t test) const {
    const Test& t = out_.tests[test];
    return t.kind == Test::Kind::kPredicate && !t.predicate.equal_to().empty();
  }

  absl::StatusOr<uint32_t> test(std::string_view path, const pb::PropertyCondition& condition) {
    absl::StatusOr<Predicate> predicate = Predicate::Compile(condition);
    if (!predicate.ok()) return predicate.status();
    Test test;
    test.field = out_.fields.add(path);
    test.predicate = *std::move(predicate);
    std::string key =
        absl::StrCat(AbslView(path), absl::string_view("\0", 1), test.predicate.canonical());
    return intern(key, std::move(test));
  }

  uint32_t external_test() {
    Test test;
    test.kind = Test::Kind::kExternal;
    test.field = out_.fields.add("referrer");
    test.other = out_.fields.add("url");
    return intern("external referrer", std::move(test));
  }

  uint32_t intern(const std::string& key, Test test) {
    auto [it, added] = test_by_key_.try_emplace(key, out_.tests.size());
    if (added) {
      out_.tests.push_back(std::move(test));
      test_keys_.push_back(it->first);
    }
    return it->second;
  }

  void subscribe(std::string_view event, absl::InlinedVector<uint32_t, 2> tests,
                 std::string_view needed, Subscription subscription) {
    const bool numeric = subscription.roles == kMeasured && !needed.empty();
    std::sort(tests.begin(), tests.end(),
              [&](uint32_t a, uint32_t b) { return test_keys_[a] < test_keys_[b]; });
    tests.erase(std::unique(tests.begin(), tests.end()), tests.end());
    // Lengths make the concatenation injective.
    std::string key = absl::StrCat(event.size(), ":", AbslView(event));
    for (uint32_t t : tests) absl::StrAppend(&key, test_keys_[t].size(), ":", test_keys_[t]);
    absl::StrAppend(&key, needed.size(), ":", AbslView(needed), numeric ? " as a number" : "");
    const uint64_t fingerprint = ValueFingerprint(Value::String(key));
    auto [it, added] = out_.atom_by_fingerprint.try_emplace(fingerprint, out_.atoms.size());
    if (added) {
      Atom atom;
      atom.fingerprint = fingerprint;
      atom.event = std::string(event);
      atom.tests = std::move(tests);
      if (!needed.empty()) atom.needed = out_.fields.add(needed);
      atom.numeric = numeric;
      out_.atoms.push_back(std::move(atom));
      atom_keys_.push_back(std::move(key));
    } else if (atom_keys_[it->second] != key) {
      collision_ = true;
    }
    std::vector<Subscription>& all = out_.atoms[it->second].subscriptions;
    // A condition may stand twice in a definition; the first trigger of equal ones is the one
    // named.
    if (!all.empty() && all.back().slot == subscription.slot && !stands_alone(subscription) &&
        !stands_alone(all.back())) {
      if ((subscription.roles & kTriggers) && !(all.back().roles & kTriggers)) {
        all.back().trigger = subscription.trigger;
      }
      all.back().roles |= subscription.roles;
    } else {
      all.push_back(subscription);
    }
  }

  // Of a measure, and of one step of a sequence.
  bool stands_alone(const Subscription& subscription) const {
    return subscription.roles == kMeasured || sequence_ == subscription.slot;
  }

  template <typename Condition>
  absl::Status subscribe(const Condition& condition, std::string_view needed,
                         Subscription subscription) {
    absl::InlinedVector<uint32_t, 2> tests;
    for (const pb::PropertyCondition& where : condition.where()) {
      absl::StatusOr<uint32_t> t = test(where.property(), where);
      if (!t.ok()) return t.status();
      tests.push_back(*t);
    }
    subscribe(condition.event(), std::move(tests), needed, subscription);
    return absl::OkStatus();
  }

  absl::Status add_exit(const pb::Live& live, Rule::Exit otherwise, Rule& rule,
                        std::string_view needed) {
    rule.exit = otherwise;
    if (!live.has_exit()) return absl::OkStatus();
    const pb::Exit& exit = live.exit();
    if (exit.has_after()) {
      absl::StatusOr<Duration> after = ParseDuration(exit.after());
      if (!after.ok()) return after.status();
      rule.exit = Rule::Exit::kAfter;
      rule.exit_after = *after;
    } else if (exit.on_size() > 0) {
      rule.exit = Rule::Exit::kOn;
      for (const pb::EventCondition& on : exit.on()) {
        if (absl::Status s = subscribe(on, needed, {rule.slot, kExits, 0}); !s.ok()) return s;
      }
    } else {
      rule.exit = Rule::Exit::kNever;
    }
    return absl::OkStatus();
  }

  absl::Status add_actions(const pb::Live& live, Rule& rule) {
    const pb::Actions& actions = live.actions();
    rule.kind = Rule::Kind::kActions;
    rule.repeat = actions.repeat();
    for (int i = 0; i < actions.any_of_size(); ++i) {
      rule.triggers.push_back(actions.any_of(i).event());
      absl::Status s =
          subscribe(actions.any_of(i), "", {rule.slot, kTriggers, static_cast<uint8_t>(i)});
      if (!s.ok()) return s;
    }
    return add_exit(live, Rule::Exit::kNever, rule, "");
  }

  absl::Status add_inaction(const pb::Live& live, Rule& rule) {
    const pb::Inaction& inaction = live.inaction();
    rule.kind = Rule::Kind::kInaction;
    rule.restart = inaction.restart();
    rule.match = !inaction.match().empty();
    absl::StatusOr<Duration> within = ParseDuration(inaction.within());
    if (!within.ok()) return within.status();
    rule.within = *within;
    rule.triggers.push_back(inaction.trigger().event());
    absl::Status s = subscribe(inaction.trigger(), inaction.match(), {rule.slot, kTriggers, 0});
    for (int i = 0; s.ok() && i < inaction.does_not_do_size(); ++i) {
      s = subscribe(inaction.does_not_do(i), inaction.match(), {rule.slot, kCancels, 0});
    }
    if (!s.ok()) return s;
    return add_exit(live, Rule::Exit::kCancel, rule, inaction.match());
  }

  absl::Status add_date_time(const pb::Live& live, Rule& rule) {
    const pb::DateTime& date_time = live.date_time();
    rule.kind = Rule::Kind::kDateTime;
    out_.has_past = true;
    rule.property = date_time.property();
    rule.yearly = date_time.recurring() == "yearly";
    rule.exit_after = Duration::Hours(24);
    absl::StatusOr<Calendar> calendar = Calendar::Load(date_time.time_zone());
    if (!calendar.ok()) return calendar.status();
    rule.calendar = std::make_shared<const Calendar>(*std::move(calendar));
    if (!date_time.offset().empty()) {
      absl::StatusOr<Duration> offset = ParseDuration(date_time.offset(), /*allow_negative=*/true);
      if (!offset.ok()) return offset.status();
      rule.offset = *offset;
    }
    if (!date_time.at().empty()) {
      // On the first day of the Unix timeline a time of day is a length.
      Time time;
      if (!ParseTimestamp(absl::StrCat("1970-01-01T", date_time.at()), &time)) {
        return absl::InvalidArgumentError("live.date_time.at: no time of day");
      }
      rule.time_of_day = time - Time();
    }
    read_profile(rule.property, rule);
    out_.by_profile_property[rule.property].push_back(rule.slot);
    return add_exit(live, Rule::Exit::kAfter, rule, "");
  }

  absl::Status add_sequence(const pb::Live& live, Rule& rule) {
    const pb::Sequence& sequence = live.sequence();
    rule.kind = Rule::Kind::kSequence;
    rule.repeat = sequence.repeat();
    sequence_ = rule.slot;
    for (int i = 0; i < sequence.steps_size(); ++i) {
      const pb::SequenceStep& step = sequence.steps(i);
      Rule::Step& out = rule.steps.emplace_back();
      out.absence = step.has_did_not();
      out.within = Duration::Millis(INT64_MAX);
      if (!step.within().empty()) {
        absl::StatusOr<Duration> within = ParseDuration(step.within());
        if (!within.ok()) return within.status();
        out.within = *within;
      }
      rule.triggers.push_back(out.absence ? "" : step.event());
      const Subscription subscription{rule.slot, out.absence ? kCancels : kTriggers,
                                      static_cast<uint8_t>(i)};
      absl::Status s = out.absence ? subscribe(step.did_not(), "", subscription)
                                   : subscribe(step, "", subscription);
      if (!s.ok()) return s;
    }
    return add_exit(live, Rule::Exit::kNever, rule, "");
  }

  absl::Status add_page_visit(const pb::Live& live, Rule& rule) {
    const pb::PageVisit& visit = live.page_visit();
    rule.kind = Rule::Kind::kActions;
    rule.repeat = visit.repeat();
    rule.triggers.emplace_back(kPageViewed);
    absl::StatusOr<uint32_t> url = test("url", visit.url());
    if (!url.ok()) return url.status();
    subscribe(kPageViewed, {*url}, "", {rule.slot, kTriggers, 0});
    return add_exit(live, Rule::Exit::kNever, rule, "");
  }

  absl::Status add_referrer(const pb::Live& live, Rule& rule) {
    const pb::Referrer& referrer = live.referrer();
    rule.kind = Rule::Kind::kReferrer;
    rule.repeat = referrer.repeat();
    rule.triggers.emplace_back(kPageViewed);
    subscribe(kPageViewed, {}, "", {rule.slot, kIsPage, 0});
    absl::StatusOr<uint32_t> matches = test("referrer", referrer.url());
    if (!matches.ok()) return matches.status();
    subscribe(kPageViewed, {external_test(), *matches}, "", {rule.slot, kTriggers, 0});
    return add_exit(live, Rule::Exit::kNever, rule, "");
  }

  absl::Status add_page_count(const pb::Live& live, Rule& rule) {
    const pb::PageCount& count = live.page_count();
    rule.kind = count.within().empty() ? Rule::Kind::kPagesOfSession : Rule::Kind::kPagesWithin;
    rule.repeat = count.repeat();
    rule.distinct = count.distinct_urls();
    rule.at_least = static_cast<uint32_t>(count.at_least());
    if (!count.within().empty()) {
      absl::StatusOr<Duration> within = ParseDuration(count.within());
      if (!within.ok()) return within.status();
      rule.within = *within;
    }
    rule.triggers.emplace_back(kPageViewed);
    const std::string_view needed = rule.distinct ? "url" : "";
    subscribe(kPageViewed, {}, needed, {rule.slot, kIsPage, 0});
    return add_exit(live, Rule::Exit::kNever, rule, needed);
  }

  void read_profile(const std::string& property, Rule& rule) {
    rule.reads_profile = true;
    std::vector<Slot>& readers = out_.readers[property];
    if (readers.empty() && property.starts_with(kContextPrefix)) {
      out_.common.emplace_back(out_.fields.add(property), property);
    }
    if (readers.empty() || readers.back() != rule.slot) readers.push_back(rule.slot);
  }

  absl::Status add_did(const pb::Did& did, Rule& rule, size_t at) {
    absl::StatusOr<std::vector<Measure>> measures = Measure::Compile(did);
    if (!measures.ok()) return measures.status();
    ExpressionNode& node = rule.expression[at];
    node.kind = ExpressionNode::Kind::kDid;
    node.first_measure = static_cast<uint16_t>(rule.measures.size());
    for (Measure& measure : *measures) {
      const auto index = static_cast<uint16_t>(rule.measures.size());
      absl::Status s =
          subscribe(did, measure.property(), Subscription{rule.slot, kMeasured, 0, index});
      if (!s.ok()) return s;
      rule.measures.push_back(std::move(measure));
    }
    node.end_measure = static_cast<uint16_t>(rule.measures.size());
    return absl::OkStatus();
  }

  // In prefix order; `did_not` becomes a `not` and a `did`.
  absl::Status add_expression(const pb::Expression& expression, Rule& rule) {
    const size_t at = rule.expression.size();
    rule.expression.emplace_back();
    const auto children = [&](ExpressionNode::Kind kind, const auto& list) -> absl::Status {
      rule.expression[at].kind = kind;
      for (const pb::Expression& child : list) {
        if (absl::Status s = add_expression(child, rule); !s.ok()) return s;
      }
      return absl::OkStatus();
    };
    absl::Status status;
    if (expression.all_of_size() > 0) {
      status = children(ExpressionNode::Kind::kAllOf, expression.all_of());
    } else if (expression.any_of_size() > 0) {
      status = children(ExpressionNode::Kind::kAnyOf, expression.any_of());
    } else if (expression.has_not_()) {
      rule.expression[at].kind = ExpressionNode::Kind::kNot;
      status = add_expression(expression.not_(), rule);
    } else if (expression.has_did()) {
      status = add_did(expression.did(), rule, at);
    } else if (expression.has_did_not()) {
      rule.expression[at].kind = ExpressionNode::Kind::kNot;
      rule.expression.emplace_back();
      status = add_did(expression.did_not(), rule, at + 1);
      rule.expression[at + 1].end = static_cast<uint32_t>(rule.expression.size());
    } else if (expression.has_property()) {
      const std::string& property = expression.property().property();
      absl::StatusOr<Predicate> predicate = Predicate::Compile(expression.property());
      if (!predicate.ok()) return predicate.status();
      rule.expression[at].property = property;
      rule.expression[at].predicate = *std::move(predicate);
      read_profile(property, rule);
      if (rule.kind == Rule::Kind::kPast) {
        std::vector<Slot>& readers = out_.by_profile_property[property];
        if (readers.empty() || readers.back() != rule.slot) readers.push_back(rule.slot);
      }
    } else {
      rule.expression[at].kind = ExpressionNode::Kind::kInSegment;
      references_.push_back({rule.slot, at, expression.in_segment()});
    }
    rule.expression[at].end = static_cast<uint32_t>(rule.expression.size());
    return status;
  }

  struct Reference {
    Slot slot;
    size_t node;
    std::string id;
  };

  RuleSet::Compiled& out_;
  absl::flat_hash_map<std::string, uint32_t> test_by_key_;
  std::vector<std::string> test_keys_;
  std::vector<std::string> atom_keys_;
  std::vector<Reference> references_;
  // The slot of the sequence being compiled.
  Slot sequence_ = kNoSlot;
  bool collision_ = false;
};

}  // namespace

bool SameSegment(const pb::Segment& a, const pb::Segment& b) {
  return a.id() == b.id() && a.create_time().seconds() == b.create_time().seconds() &&
         a.create_time().nanos() == b.create_time().nanos();
}

bool SameVersion(const pb::Segment& a, const pb::Segment& b) {
  return SameSegment(a, b) && a.version() == b.version();
}

absl::StatusOr<std::shared_ptr<const RuleSet>> RuleSet::Compile(
    std::vector<ActiveSegment> segments) {
  auto compiled = std::make_unique<Compiled>();
  compiled->segments = std::move(segments);
  Slot slots = 0;
  for (const ActiveSegment& active : compiled->segments) slots = std::max(slots, active.slot + 1);
  compiled->rules.resize(slots);
  for (Slot slot = 0; slot < slots; ++slot) compiled->rules[slot].slot = slot;
  compiled->by_slot.resize(slots, nullptr);
  Compiler compiler(*compiled);
  for (const ActiveSegment& active : compiled->segments) {
    compiled->by_slot[active.slot] = &active;
    if (active.deleting) continue;
    compiled->by_id[active.segment.id()] = &active;
    if (active.paused) {
      compiled->rules[active.slot].telling = active.telling;
      continue;
    }
    const std::vector<Violation> violations = CheckSegment(active.segment);
    if (!violations.empty()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "segment ", active.segment.id(), ": ", violations[0].path, ": ", violations[0].message));
    }
    if (absl::Status s = compiler.add(active); !s.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("segment ", active.segment.id(), ": ", s.message()));
    }
  }
  if (absl::Status s = compiler.resolve(); !s.ok()) return s;
  compiler.index();
  return std::shared_ptr<const RuleSet>(new RuleSet(std::move(compiled)));
}

RuleSet::RuleSet(std::unique_ptr<const Compiled> compiled) : compiled_(std::move(compiled)) {}
RuleSet::~RuleSet() = default;

const Fields& RuleSet::fields() const {
  return compiled_->fields;
}

const ActiveSegment* RuleSet::segment(Slot slot) const {
  return slot < compiled_->by_slot.size() ? compiled_->by_slot[slot] : nullptr;
}

const ActiveSegment* RuleSet::find(std::string_view id) const {
  const auto it = compiled_->by_id.find(AbslView(id));
  return it == compiled_->by_id.end() ? nullptr : it->second;
}

const std::vector<ActiveSegment>& RuleSet::segments() const {
  return compiled_->segments;
}

size_t RuleSet::atoms() const {
  return compiled_->atoms.size();
}

}  // namespace segmentd
