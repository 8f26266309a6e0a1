#include "segment/explain.h"

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/struct.pb.h"

#include "segment/absl_view.h"
#include "segment/compiled_rules.h"
#include "segment/definition_words.h"
#include "segment/fold.h"
#include "segment/forecast.h"
#include "segment/timestamp.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

std::string KindOf(const pb::Live& live) {
  if (live.has_actions()) return "actions";
  if (live.has_inaction()) return "inaction";
  if (live.has_date_time()) return "date_time";
  if (live.has_page_visit()) return "page_visit";
  if (live.has_referrer()) return "referrer";
  if (live.has_sequence()) return "sequence";
  return "page_count";
}

// Moments at which something may turn are tried one after the other; a sum has so many events and
// no more.
constexpr size_t kMostTurns = kMaxSamples + 8;

// What one explanation may spend on the time to come, in Forecast's unit: about 10 ms. Enough for
// five sums of the most values that turn with their last event; but a yearly date whose filter
// never holds has no end. Past it no `until` is told, rather than a wrong one.
constexpr int64_t kMostToSpend = 200'000;

// When it came to be so, of what turned after `from` without an event; Time::Min() where it did
// not.
template <typename Holds, typename Next>
Time BeginOf(Time from, Time now, Holds holds, Next next) {
  Time begin = Time::Min();
  bool held = holds(from);
  for (size_t i = 0; i < kMostTurns; ++i) {
    from = next(from);
    if (from > now) break;
    if (holds(from) == held) continue;
    held = !held;
    begin = from;
  }
  return begin;
}

void SetUntil(Time until, pb::Finding& out) {
  if (until != Time::Max()) SetTimestamp(until, out.mutable_until());
}

void SetValue(const Value& value, google::protobuf::Value& out) {
  switch (value.type()) {
    case ValueType::kMissing:
      break;
    case ValueType::kString:
      out.set_string_value(std::string(value.text()));
      break;
    case ValueType::kNumber:
      out.set_number_value(value.number());
      break;
    case ValueType::kBoolean:
      out.set_bool_value(value.boolean());
      break;
    case ValueType::kList:
      out.mutable_list_value();
      for (const Value& item : value.items()) {
        SetValue(item, *out.mutable_list_value()->add_values());
      }
      break;
  }
}

// Writes the findings of one segment and user, in the order of the definition.
class Explainer {
 public:
  Explainer(const RuleSet& rules, const Rule& rule, const pb::Segment& segment,
            const SegmentState* state, const UserState& user, Time now)
      : rules_(rules),
        rule_(rule),
        segment_(segment),
        live_(segment.live()),
        state_(state),
        user_(user),
        now_(now),
        forecast_(rules.compiled(), rule.slot, user, now) {}

  void explain(pb::Finding& root) {
    conditions(root);
    if (rule_.kind != Rule::Kind::kPast) {
      watch(root, 1, /*follows=*/true, [this](Time*) { return forecast_.member(); });
    }
    foresee();
    if (rule_.kind != Rule::Kind::kPast) {
      exit(root);
      return;
    }
    const pb::Finding& whole = root.children(0);
    if (whole.holds() != root.holds()) {
      SetUntil(now_, root);  // It is due, and about to fire.
    } else if (whole.has_until()) {
      *root.mutable_until() = whole.until();
    }
  }

 private:
  // A finding of which is told until when it stands.
  struct Watched {
    pb::Finding* finding;
    int64_t cost;
    // It may turn whenever some segment moves.
    bool follows;
    // Whether it holds at the forecast's now, and the next moment at which that may turn.
    std::function<bool(Time* until)> holds;
    // That moment.
    Time next = Time::Min();
  };

  void watch(pb::Finding& finding, int64_t cost, bool follows,
             std::function<bool(Time* until)> holds) {
    watched_.push_back({&finding, cost, follows || forecast_.late_ahead(), std::move(holds)});
  }

  // Goes through the moments to come, if no event does, and tells of each finding when it turns.
  void foresee() {
    int64_t spent = 0;
    bool moved = false;
    while (!watched_.empty()) {
      Time next = forecast_.next();
      std::erase_if(watched_, [&](Watched& watched) {
        if (watched.next <= forecast_.now() || (moved && watched.follows)) {
          spent += watched.cost;
          watched.next = Time::Max();
          if (watched.holds(&watched.next) != watched.finding->holds()) {
            SetUntil(forecast_.now(), *watched.finding);
            return true;
          }
        }
        next = std::min(next, watched.next);
        return false;
      });
      if (next == Time::Max() || spent > kMostToSpend) return;
      const int64_t cost = forecast_.advance(next);
      moved = cost > 0;
      spent += cost + 1;
    }
  }

  void conditions(pb::Finding& root) {
    if (rule_.kind == Rule::Kind::kPast) {
      expression(segment_.past_behavior(), "past_behavior", 0, *root.add_children());
      pb::Finding& whole = *root.mutable_children(0);
      // The membership is the expression, as far as this version made it so.
      if (state_ && state_->since != Time::Min() && state_->since >= rule_.activation_clock) {
        SetTimestamp(state_->since, whole.mutable_since());
      }
      return;
    }
    const std::string path = absl::StrCat("live.", KindOf(live_));
    switch (rule_.kind) {
      case Rule::Kind::kInaction:
        inaction(path, *root.add_children());
        break;
      case Rule::Kind::kDateTime:
        date_time(path, *root.add_children());
        break;
      case Rule::Kind::kSequence:
        sequence(path, root);
        break;
      default:
        triggers(path, root);
    }
    exit_ = root.add_children();
    if (live_.has_filter()) {
      expression(live_.filter(), "live.filter", 0, *root.add_children());
    }
  }

  void inaction(const std::string& path, pb::Finding& out) {
    const pb::Inaction& inaction = live_.inaction();
    out.set_path(absl::StrCat(path, ".trigger"));
    std::string text = absl::StrCat(WordsOf(inaction.trigger()), ", then within ",
                                    inaction.within(), " none of: ");
    for (int i = 0; i < inaction.does_not_do_size(); ++i) {
      absl::StrAppend(&text, i == 0 ? "" : "; ", WordsOf(inaction.does_not_do(i)));
    }
    out.set_text(text);
    bool waiting = false;
    for (const Occurrence& pending : state_ ? state_->memory->occurrences : Occurrences()) {
      pb::Finding& child = *out.add_children();
      child.set_path(absl::StrCat(path, ".within"));
      const bool member = state_->member;
      child.set_text(absl::StrCat("pending since ", FormatTimestamp(pending.at),
                                  member ? ", ends without effect at " : ", joins at ",
                                  FormatTimestamp(pending.due),
                                  member ? " while a member" : " unless cancelled"));
      SetTimestamp(pending.at, child.mutable_since());
      SetTimestamp(pending.due, child.mutable_until());
      waiting = true;
    }
    const bool member = state_ && state_->member;
    if (member && state_->trigger != kNoTrigger) {
      pb::Finding& child = *out.add_children();
      child.set_path(absl::StrCat(path, ".within"));
      child.set_text(absl::StrCat("triggered at ", FormatTimestamp(state_->cause_at),
                                  ", not cancelled until ", FormatTimestamp(state_->since)));
      child.set_holds(true);
      SetTimestamp(state_->since, child.mutable_since());
    } else if (!member && !waiting) {
      pb::Finding& child = *out.add_children();
      child.set_path(absl::StrCat(path, ".trigger"));
      child.set_text("not triggered since it was last cancelled, decided or created");
      child.set_holds(false);
    }
  }

  void triggers(const std::string& path, pb::Finding& root) {
    const bool member = state_ && state_->member && state_->trigger != kNoTrigger;
    const auto found = [&](const std::string& at, std::string text, bool behind) {
      pb::Finding& out = *root.add_children();
      out.set_path(at);
      if (behind) {
        absl::StrAppend(&text, ": last qualified at ", FormatTimestamp(state_->cause_at));
        out.set_holds(true);
        SetTimestamp(state_->cause_at, out.mutable_since());
      } else {
        absl::StrAppend(&text, ": waits for its event");
      }
      out.set_text(std::move(text));
    };
    if (live_.has_actions()) {
      for (int i = 0; i < live_.actions().any_of_size(); ++i) {
        found(absl::StrCat(path, ".any_of[", i, "]"), WordsOf(live_.actions().any_of(i)),
              member && state_->trigger == i);
      }
    } else if (live_.has_page_visit()) {
      found(absl::StrCat(path, ".url"), WordsOf(live_.page_visit().url(), "url"), member);
    } else if (live_.has_referrer()) {
      found(absl::StrCat(path, ".url"),
            absl::StrCat("first page of a session, ", WordsOf(live_.referrer().url(), "referrer")),
            member);
      session(path, root);
    } else {
      pages(path, root);
    }
  }

  void session(const std::string& path, pb::Finding& root) {
    if (!state_ || state_->memory->session_at == Time::Min()) return;
    pb::Finding& out = *root.add_children();
    out.set_path(absl::StrCat(path, ".session"));
    const Time end = state_->memory->session_at + kSessionGap;
    out.set_text(absl::StrCat("last page at ", FormatTimestamp(state_->memory->session_at),
                              now_ < end ? ", the session ends at " : ", the session ended at ",
                              FormatTimestamp(end)));
    out.set_holds(now_ < end);
    SetTimestamp(end, out.mutable_until());
  }

  void pages(const std::string& path, pb::Finding& root) {
    pb::Finding& out = *root.add_children();
    out.set_path(absl::StrCat(path, ".at_least"));
    size_t count = 0;
    if (state_ && rule_.kind == Rule::Kind::kPagesOfSession) {
      if (now_ < state_->memory->session_at + kSessionGap) count = state_->count;
    } else if (state_) {
      for (const Occurrence& page : state_->memory->occurrences) {
        if (page.at > now_ - rule_.within) ++count;
      }
    }
    out.set_text(absl::StrCat(count >= rule_.at_least ? "at least " : "", count, " of ",
                              rule_.at_least, rule_.distinct ? " different" : "", " pages ",
                              rule_.kind == Rule::Kind::kPagesOfSession
                                  ? "in the session"
                                  : absl::StrCat("within ", FormatDuration(rule_.within))));
    out.set_holds(count >= rule_.at_least);
    out.mutable_value()->set_number_value(static_cast<double>(count));
    if (rule_.kind == Rule::Kind::kPagesOfSession) session(path, root);
  }

  // When a member leaves is known once it is known what comes before.
  void exit(const pb::Finding& root) {
    pb::Finding& out = *exit_;
    out.set_path(rule_.exit == Rule::Exit::kCancel ? "live.inaction.does_not_do" : "live.exit");
    switch (rule_.exit) {
      case Rule::Exit::kNever:
        out.set_text("a member stays");
        break;
      case Rule::Exit::kAfter: {
        std::string text =
            absl::StrCat("leaves ", FormatDuration(rule_.exit_after),
                         rule_.kind == Rule::Kind::kInaction   ? " after joining"
                         : rule_.kind == Rule::Kind::kDateTime ? " after the latest moment"
                                                               : " after last qualifying");
        if (root.holds() && root.has_until()) {
          absl::StrAppend(&text, ": at ", FormatTimestamp(TimeOf(root.until())));
          *out.mutable_until() = root.until();
        } else if (root.holds()) {
          absl::StrAppend(&text, ": not before ", FormatTimestamp(state_->exit_at));
        }
        out.set_text(std::move(text));
        break;
      }
      case Rule::Exit::kOn:
        out.set_text("leaves at one of the events of `exit.on`");
        break;
      case Rule::Exit::kCancel:
        out.set_text("leaves at a does_not_do event");
        break;
    }
  }

  // The dates that the property has, and where they lead to.
  void date_time(const std::string& path, pb::Finding& out) {
    std::vector<Value> items;
    const Value value = user_.present.profile.find(rule_.property, &items);
    out.set_path(absl::StrCat(path, ".property"));
    const Time next = state_ && !state_->memory->occurrences.empty()
                          ? state_->memory->occurrences[0].due
                          : Time::Max();
    out.set_text(absl::StrCat(rule_.property, " is ", WordsOf(value),
                              next == Time::Max()
                                  ? "; no moment to come"
                                  : absl::StrCat("; the next moment is ", FormatTimestamp(next))));
    SetUntil(next, out);
    if (!value.missing()) SetValue(value, *out.mutable_value());
    const auto each = [&](const Value& item) {
      pb::Finding& child = *out.add_children();
      child.set_path(out.path());
      date(item, child);
    };
    if (value.type() == ValueType::kList) {
      for (const Value& item : value.items()) each(item);
    } else if (!value.missing()) {
      each(value);
    }
  }

  void date(const Value& value, pb::Finding& out) {
    Time date;
    if (value.type() != ValueType::kString ||
        (!rule_.calendar->parse(value.text(), &date) && !ParseTimestamp(value.text(), &date))) {
      out.set_text(absl::StrCat(WordsOf(value), " is no date"));
      out.set_holds(false);
      return;
    }
    const Time moment = rule_.calendar->shift(date, rule_.offset, rule_.time_of_day);
    if (rule_.yearly) {
      out.set_text(absl::StrCat(WordsOf(value), " leads to each year's day and month from ",
                                FormatTimestamp(moment), " on"));
      return;
    }
    const std::string to = absl::StrCat(WordsOf(value), " leads to ", FormatTimestamp(moment));
    if (moment > now_) {
      out.set_text(absl::StrCat(to, ", still to come"));
      SetTimestamp(moment, out.mutable_until());
      return;
    }
    out.set_holds(false);
    const Time set_at = written_at(rule_.property);
    if (moment <= rule_.activation_clock) {
      out.set_text(absl::StrCat(to, ", not after the segment's activation at ",
                                FormatTimestamp(rule_.activation_clock), ": it did not fire"));
    } else if (moment < set_at - kLatestDate) {
      out.set_text(absl::StrCat(to, ", more than ", FormatDuration(kLatestDate),
                                " before it became known at ", FormatTimestamp(set_at),
                                ": it did not fire"));
    } else {
      const bool member = state_ && state_->member;
      out.set_text(absl::StrCat(
          to, ", past",
          !member && live_.has_filter() ? "; the filter was judged at that moment" : ""));
      out.clear_holds();
    }
  }

  Time written_at(std::string_view name) const {
    for (const Profile::Property& property : user_.present.profile.properties()) {
      if (property.name == name) return property.newest.time;
    }
    return Time::Min();
  }

  void sequence(const std::string& path, pb::Finding& root) {
    const pb::Sequence& sequence = live_.sequence();
    const bool member = state_ && state_->member && state_->trigger != kNoTrigger;
    for (int i = 0; i < sequence.steps_size(); ++i) {
      pb::Finding& out = *root.add_children();
      out.set_path(absl::StrCat(path, ".steps[", i, "]"));
      std::string text = WordsOf(sequence.steps(i));
      if (member && i == sequence.steps_size() - 1) {
        absl::StrAppend(&text, ": last qualified by ",
                        state_->trigger < rule_.triggers.size() ? rule_.triggers[state_->trigger]
                                                                : std::string(),
                        " at ", FormatTimestamp(state_->cause_at));
        out.set_holds(true);
        // The absences after the last event step end the sequence later than that.
        Time done = state_->cause_at;
        for (size_t step = state_->trigger + 1U; step < rule_.steps.size(); ++step) {
          done = done + rule_.steps[step].within;
        }
        SetTimestamp(done, out.mutable_since());
      }
      if (state_) {
        for (const Occurrence& instance : state_->memory->occurrences) {
          if (instance.value == static_cast<uint64_t>(i)) wait(instance, out);
        }
      }
      if (out.children_size() == 0 && !out.has_holds()) {
        absl::StrAppend(&text, i == 0 ? ": begins an instance" : ": no instance waits for it");
      }
      out.set_text(std::move(text));
    }
  }

  // Of an instance of a sequence, the step it waits for.
  void wait(const Occurrence& instance, pb::Finding& step) {
    const Rule::Step& rule = rule_.steps[instance.value];
    const Time end = instance.at + rule.within;
    if (!rule.absence && end <= now_) return;
    pb::Finding& out = *step.add_children();
    out.set_path(step.path());
    SetTimestamp(instance.at, out.mutable_since());
    SetUntil(end, out);
    std::string text = absl::StrCat("an instance waits since ", FormatTimestamp(instance.at));
    if (end != Time::Max()) {
      absl::StrAppend(&text, rule.absence ? ", done at " : ", ends at ", FormatTimestamp(end),
                      rule.absence ? " unless the event comes before" : "");
    }
    out.set_text(std::move(text));
  }

  // `node` follows the compiled expression, which has the same shape.
  uint32_t expression(const pb::Expression& expression, const std::string& path, uint32_t node,
                      pb::Finding& out) {
    out.set_path(path);
    Time unused;
    out.set_holds(forecast_.holds(node, &unused));
    const uint32_t end = rule_.expression[node].end;
    const bool follows = std::any_of(
        rule_.expression.begin() + node, rule_.expression.begin() + end,
        [](const ExpressionNode& of) { return of.kind == ExpressionNode::Kind::kInSegment; });
    watch(out, forecast_.cost(node), follows,
          [this, node](Time* until) { return forecast_.holds(node, until); });
    const auto children = [&](std::string_view name, const auto& list) {
      out.set_text(name == "all_of" ? "all of" : "any of");
      uint32_t child = node + 1;
      for (int i = 0; i < list.size(); ++i) {
        child = this->expression(list.Get(i), absl::StrCat(path, ".", AbslView(name), "[", i, "]"),
                                 child, *out.add_children());
      }
      since_of_all(name == "all_of", out);
    };
    if (expression.all_of_size() > 0) {
      children("all_of", expression.all_of());
    } else if (expression.any_of_size() > 0) {
      children("any_of", expression.any_of());
    } else if (expression.has_not_()) {
      out.set_text("not");
      this->expression(expression.not_(), path + ".not", node + 1, *out.add_children());
      if (out.children(0).has_since()) *out.mutable_since() = out.children(0).since();
    } else if (expression.has_did()) {
      did(expression.did(), node, "", out);
    } else if (expression.has_did_not()) {
      did(expression.did_not(), node + 1, "not ", out);
    } else if (!expression.in_segment().empty()) {
      in_segment(expression.in_segment(), node, out);
    } else {
      std::vector<Value> items;
      const std::string& property = expression.property().property();
      const Value value = user_.present.profile.find(property, &items);
      out.set_text(
          absl::StrCat(WordsOf(expression.property(), property), "; it is ", WordsOf(value)));
      if (!value.missing()) SetValue(value, *out.mutable_value());
      const Time written = written_at(property);
      if (written != Time::Min() && written <= now_) {
        const Predicate& predicate = rule_.expression[node].predicate;
        const Time turned = BeginOf(
            written, now_, [&](Time at) { return predicate.holds(value, at); },
            [&](Time at) { return predicate.next_change(value, at); });
        SetTimestamp(std::max(written, turned), out.mutable_since());
      }
    }
    return end;
  }

  // All of them hold since the last of them does, and none of them does since the last has ended.
  // When one of several began to decide alone is not kept.
  static void since_of_all(bool all, pb::Finding& out) {
    if (out.holds() != all) return;
    const google::protobuf::Timestamp* latest = nullptr;
    for (const pb::Finding& child : out.children()) {
      if (!child.has_since()) return;
      if (latest == nullptr || TimeOf(child.since()) > TimeOf(*latest)) latest = &child.since();
    }
    if (latest != nullptr) *out.mutable_since() = *latest;
  }

  void in_segment(const std::string& id, uint32_t node, pb::Finding& out) {
    const Slot slot = rule_.expression[node].slot;
    const ActiveSegment* inner = rules_.segment(slot);
    if (!inner) {
      out.set_text(absl::StrCat("in segment ", id, ": there is none, so nobody is in it"));
      return;
    }
    const SegmentState* state = user_.present.segments.find(slot);
    const bool member = state && state->member;
    out.set_text(absl::StrCat(
        "in segment ", id, " (", inner->segment.name(), "): ",
        member ? absl::StrCat("a member since ", FormatTimestamp(state->since)) : "not a member"));
    if (state && state->since != Time::Min()) SetTimestamp(state->since, out.mutable_since());
    out.mutable_value()->set_bool_value(member);
  }

  void did(const pb::Did& did, uint32_t node, std::string_view negation, pb::Finding& out) {
    const ExpressionNode& compiled = rule_.expression[node];
    // In the order of Measure::Compile.
    std::vector<std::string_view> numbers;
    if (did.has_count()) numbers.push_back("count");
    if (did.has_sum()) numbers.push_back("sum");
    if (did.has_average()) numbers.push_back("average");
    if (did.first_time()) numbers.push_back("first_time");
    if (numbers.empty()) numbers.push_back("");
    const std::string event = absl::StrCat(AbslView(negation), WordsOf(did));
    if (numbers.size() > 1) {
      out.set_text(absl::StrCat(event, ": all of"));
    }
    for (size_t i = 0; i < numbers.size(); ++i) {
      const size_t index = compiled.first_measure + i;
      const Measure& measure = rule_.measures[index];
      static const MeasureState kNothing;
      const bool counted = state_ && !state_->memory->measures.empty();
      const MeasureState& state = counted ? state_->memory->measures[index] : kNothing;
      const auto holds = [&](Time at) { return measure.holds(state, at); };
      const auto next = [&](Time at) { return measure.next_change(state, at); };
      const Measure::Reading reading = measure.read(state, now_);
      std::string text = number_words(did, numbers[i], reading);
      const bool first = numbers[i] == "first_time";
      if (did.include_users_who_did_not() && !first) absl::StrAppend(&text, ", none counts as 0");
      if (reading.newest != Time::Min() && !first) {
        absl::StrAppend(&text, ", the last at ", FormatTimestamp(reading.newest));
      }
      // What happened without an event since the newest one that is still known.
      Time begin = Time::Min();
      if (!state.samples.empty() && state.samples.back().at <= now_) {
        begin = BeginOf(state.samples.back().at, now_, holds, next);
      }
      pb::Finding& of = numbers.size() > 1 ? *out.add_children() : out;
      if (numbers.size() > 1) {
        of.set_path(absl::StrCat(out.path(), ".", AbslView(numbers[i])));
        of.set_text(std::move(text));
        of.set_holds(holds(now_));
        watch(of, 1, /*follows=*/false,
              [this, index](Time* until) { return forecast_.measure_holds(index, until); });
      } else {
        of.set_text(absl::StrCat(event, ": ", text));
      }
      if (begin != Time::Min()) SetTimestamp(begin, of.mutable_since());
      set_value(numbers[i], reading, of);
    }
  }

  static void set_value(std::string_view number, const Measure::Reading& reading,
                        pb::Finding& out) {
    if (number == "first_time") {
      if (reading.newest != Time::Min()) {
        out.mutable_value()->set_string_value(FormatTimestamp(reading.newest));
      }
    } else if (number == "sum") {
      out.mutable_value()->set_number_value(reading.sum);
    } else if (number == "average") {
      const auto count = static_cast<double>(reading.count);
      out.mutable_value()->set_number_value(reading.count == 0 ? 0 : reading.sum / count);
    } else {
      out.mutable_value()->set_number_value(static_cast<double>(reading.count));
    }
  }

  static std::string number_words(const pb::Did& did, std::string_view number,
                                  const Measure::Reading& reading) {
    if (number == "sum") {
      return absl::StrCat("sum of ", did.sum().property(), " ", WordsOf(reading.sum), " of ",
                          WordsOf(did.sum()));
    }
    if (number == "average") {
      const double average =
          reading.count == 0 ? 0 : reading.sum / static_cast<double>(reading.count);
      return absl::StrCat("average of ", did.average().property(), " ", WordsOf(average), " of ",
                          WordsOf(did.average()), ", over ", reading.count,
                          reading.count == 1 ? " event" : " events");
    }
    if (number == "first_time") {
      return reading.newest == Time::Min()
                 ? "for the first time: never done"
                 : absl::StrCat("for the first time at ", FormatTimestamp(reading.newest));
    }
    // A window is counted as far as its test asks.
    const int64_t enough = did.has_count() ? NumberTest::Of(did.count()).deciding_count() : 1;
    const bool more = !did.within_last().empty() && reading.count >= std::max<int64_t>(1, enough);
    return absl::StrCat(reading.count, more ? " or more" : "", " of ",
                        did.has_count() ? WordsOf(did.count()) : "at least 1");
  }

  const RuleSet& rules_;
  const Rule& rule_;
  const pb::Segment& segment_;
  const pb::Live& live_;
  const SegmentState* state_;
  const UserState& user_;
  Time now_;
  Forecast forecast_;
  std::vector<Watched> watched_;
  pb::Finding* exit_ = nullptr;
};

}  // namespace

pb::Explanation ExplainMembership(const RuleSet& rules, Slot slot, Time now,
                                  const UserState& user) {
  pb::Explanation out;
  const ActiveSegment* active = rules.segment(slot);
  if (!active || active->deleting) return out;
  const pb::Segment& segment = active->segment;
  const Rule& rule = rules.compiled().rules[slot];
  const SegmentState* state = user.present.segments.find(slot);
  const bool member = state && state->member;
  const bool built = rule.built || (state && state->built && state->version == rule.version);
  out.set_segment_version(segment.version());
  out.set_member(member);
  if (member) SetTimestamp(state->since, out.mutable_since());
  SetTimestamp(now, out.mutable_now());
  pb::Finding& root = *out.mutable_root();
  root.set_path(segment.has_live() ? "live" : "past_behavior");
  root.set_holds(member);
  std::string text;
  if (user.exists_since == Time::Max()) {
    text = "the user is not known: no event was read";
  } else if (member) {
    const bool by_earlier = state->trigger == kNoTrigger && segment.has_live();
    text = absl::StrCat("a member since ", FormatTimestamp(state->since),
                        by_earlier ? ", by an earlier version" : "");
  } else {
    text = "not a member";
  }
  if (active->paused) {
    absl::StrAppend(&text, "; paused: memberships stay as they are");
  } else if (!built) {
    absl::StrAppend(&text,
                    "; building: the history is still being read, until then nothing changes");
  }
  if (segment.shadow())
    absl::StrAppend(&text, "; of a shadow segment, so its changes are not written");
  root.set_text(std::move(text));
  if (member) SetTimestamp(state->since, root.mutable_since());
  if (active->paused || !built) return out;
  if (segment.has_past_behavior() && !user.present.exists) return out;
  // As of now, also where nothing has come for it since its history was added.
  SegmentState caught_up;
  if (state != nullptr && !state->memory->ahead->empty()) {
    caught_up = *state;
    Fold::take_in(rule, now, caught_up);
    state = &caught_up;
  }
  Explainer(rules, rule, segment, state, user, now).explain(root);
  return out;
}

}  // namespace segmentd
