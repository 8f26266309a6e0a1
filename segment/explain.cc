#include "segment/explain.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

#include "segment/absl_view.h"
#include "segment/compiled_rules.h"
#include "segment/timestamp.h"

namespace segmentd {
namespace {

namespace pb = segments::v1;

std::string KindOf(const pb::Live& live) {
  if (live.has_actions()) return "actions";
  if (live.has_inaction()) return "inaction";
  if (live.has_page_visit()) return "page_visit";
  if (live.has_referrer()) return "referrer";
  return "page_count";
}

std::string Quoted(const google::protobuf::Value& value) {
  switch (value.kind_case()) {
    case google::protobuf::Value::kStringValue:
      return absl::StrCat("\"", value.string_value(), "\"");
    case google::protobuf::Value::kNumberValue:
      return absl::StrCat(value.number_value());
    case google::protobuf::Value::kBoolValue:
      return value.bool_value() ? "true" : "false";
    default:
      return "?";
  }
}

std::string Quoted(const google::protobuf::ListValue& list) {
  std::string out = "[";
  for (const auto& value : list.values()) {
    absl::StrAppend(&out, out.size() > 1 ? ", " : "", Quoted(value));
  }
  return out + "]";
}

// "amount greater_than 500", the words of the definition.
std::string Words(const pb::PropertyCondition& c, std::string_view property) {
  std::string out(property);
  const auto add = [&](std::string_view op, std::string_view operand) {
    absl::StrAppend(&out, " ", AbslView(op), " ", AbslView(operand));
  };
  if (c.has_equals()) add("equals", Quoted(c.equals()));
  if (c.has_not_equals()) add("not_equals", Quoted(c.not_equals()));
  if (c.has_in()) add("in", Quoted(c.in()));
  if (c.has_not_in()) add("not_in", Quoted(c.not_in()));
  if (c.has_greater_than()) add("greater_than", Quoted(c.greater_than()));
  if (c.has_at_least()) add("at_least", Quoted(c.at_least()));
  if (c.has_less_than()) add("less_than", Quoted(c.less_than()));
  if (c.has_at_most()) add("at_most", Quoted(c.at_most()));
  if (c.has_between()) add("between", Quoted(c.between()));
  if (c.has_contains()) add("contains", absl::StrCat("\"", c.contains(), "\""));
  if (c.has_not_contains()) add("not_contains", absl::StrCat("\"", c.not_contains(), "\""));
  if (c.has_starts_with()) add("starts_with", absl::StrCat("\"", c.starts_with(), "\""));
  if (c.has_ends_with()) add("ends_with", absl::StrCat("\"", c.ends_with(), "\""));
  if (c.has_matches()) add("matches", absl::StrCat("\"", c.matches(), "\""));
  if (c.has_exists()) add("exists", c.exists() ? "true" : "false");
  if (c.has_before()) add("before", c.before());
  if (c.has_after()) add("after", c.after());
  if (c.has_within_last()) add("within_last", c.within_last());
  if (c.has_within_next()) add("within_next", c.within_next());
  if (c.ignore_case()) absl::StrAppend(&out, " (ignore_case)");
  return out;
}

std::string Words(const pb::EventCondition& condition) {
  std::string out = condition.event();
  for (int i = 0; i < condition.where_size(); ++i) {
    absl::StrAppend(&out, i == 0 ? " where " : " and ",
                    Words(condition.where(i), condition.where(i).property()));
  }
  return out;
}

std::string Words(const Value& value) {
  switch (value.type()) {
    case ValueType::kMissing:
      return "missing";
    case ValueType::kString:
      return absl::StrCat("\"", AbslView(value.text()), "\"");
    case ValueType::kNumber:
      return absl::StrCat(value.number());
    case ValueType::kBoolean:
      return value.boolean() ? "true" : "false";
    case ValueType::kList: {
      std::string out = "[";
      for (const Value& item : value.items()) {
        absl::StrAppend(&out, out.size() > 1 ? ", " : "", Words(item));
      }
      return out + "]";
    }
  }
  return "";
}

// Writes the findings of one segment and user, in the order of the definition.
class Explainer {
 public:
  Explainer(const Rule& rule, const pb::Live& live, const SegmentState* state,
            const UserState& user, Time now, Fold& fold)
      : rule_(rule), live_(live), state_(state), user_(user), now_(now), fold_(fold) {}

  void explain(pb::Finding& root) {
    const std::string path = absl::StrCat("live.", KindOf(live_));
    if (rule_.kind == Rule::Kind::kInaction) {
      inaction(path, *root.add_children());
    } else {
      triggers(path, root);
    }
    exit(*root.add_children());
    if (live_.has_filter()) {
      filter(live_.filter(), "live.filter", 0, *root.add_children());
    }
  }

 private:
  void inaction(const std::string& path, pb::Finding& out) {
    const pb::Inaction& inaction = live_.inaction();
    out.set_path(absl::StrCat(path, ".trigger"));
    std::string text =
        absl::StrCat(Words(inaction.trigger()), ", then within ", inaction.within(), " none of: ");
    for (int i = 0; i < inaction.does_not_do_size(); ++i) {
      absl::StrAppend(&text, i == 0 ? "" : "; ", Words(inaction.does_not_do(i)));
    }
    out.set_text(text);
    bool waiting = false;
    for (const Occurrence& pending :
         state_ ? state_->occurrences : decltype(state_->occurrences)()) {
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
        found(absl::StrCat(path, ".any_of[", i, "]"), Words(live_.actions().any_of(i)),
              member && state_->trigger == i);
      }
    } else if (live_.has_page_visit()) {
      found(absl::StrCat(path, ".url"), Words(live_.page_visit().url(), "url"), member);
    } else if (live_.has_referrer()) {
      found(absl::StrCat(path, ".url"),
            absl::StrCat("first page of a session, ", Words(live_.referrer().url(), "referrer")),
            member);
      session(path, root);
    } else {
      pages(path, root);
    }
  }

  void session(const std::string& path, pb::Finding& root) {
    if (!state_ || state_->session_at == Time::Min()) return;
    pb::Finding& out = *root.add_children();
    out.set_path(absl::StrCat(path, ".session"));
    const Time end = state_->session_at + kSessionGap;
    out.set_text(absl::StrCat("last page at ", FormatTimestamp(state_->session_at),
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
      if (now_ < state_->session_at + kSessionGap) count = state_->count;
    } else if (state_) {
      for (const Occurrence& page : state_->occurrences) {
        if (page.at > now_ - rule_.within) ++count;
      }
    }
    out.set_text(absl::StrCat(count >= rule_.at_least ? "at least " : "", count, " of ",
                              rule_.at_least, rule_.distinct ? " different" : "", " pages ",
                              rule_.kind == Rule::Kind::kPagesOfSession
                                  ? "in the session"
                                  : absl::StrCat("within ", FormatDuration(rule_.within))));
    out.set_holds(count >= rule_.at_least);
    if (rule_.kind == Rule::Kind::kPagesOfSession) session(path, root);
  }

  void exit(pb::Finding& out) {
    const bool member = state_ && state_->member;
    out.set_path(rule_.exit == Rule::Exit::kCancel ? "live.inaction.does_not_do" : "live.exit");
    switch (rule_.exit) {
      case Rule::Exit::kNever:
        out.set_text("a member stays");
        break;
      case Rule::Exit::kAfter:
        out.set_text(absl::StrCat(
            "leaves ", FormatDuration(rule_.exit_after),
            rule_.kind == Rule::Kind::kInaction ? " after joining" : " after last qualifying",
            member ? absl::StrCat(": at ", FormatTimestamp(state_->exit_at)) : ""));
        if (member) SetTimestamp(state_->exit_at, out.mutable_until());
        break;
      case Rule::Exit::kOn:
        out.set_text("leaves at one of the events of `exit.on`");
        break;
      case Rule::Exit::kCancel:
        out.set_text("leaves at a does_not_do event");
        break;
    }
  }

  // `node` follows the compiled filter, which has the same shape.
  uint32_t filter(const pb::Expression& expression, const std::string& path, uint32_t node,
                  pb::Finding& out) {
    out.set_path(path);
    Time until;
    out.set_holds(fold_.holds(rule_, node, user_.present, now_, &until));
    const auto children = [&](std::string_view name, const auto& list) {
      out.set_text(name == "all_of" ? "all of" : "any of");
      uint32_t next = node + 1;
      for (int i = 0; i < list.size(); ++i) {
        next = filter(list.Get(i), absl::StrCat(path, ".", AbslView(name), "[", i, "]"), next,
                      *out.add_children());
      }
    };
    if (expression.all_of_size() > 0) {
      children("all_of", expression.all_of());
    } else if (expression.any_of_size() > 0) {
      children("any_of", expression.any_of());
    } else if (expression.has_not_()) {
      out.set_text("not");
      filter(expression.not_(), path + ".not", node + 1, *out.add_children());
    } else {
      std::vector<Value> items;
      const std::string& property = expression.property().property();
      out.set_text(absl::StrCat(Words(expression.property(), property), "; it is ",
                                Words(user_.present.profile.find(property, &items))));
    }
    return rule_.expression[node].end;
  }

  const Rule& rule_;
  const pb::Live& live_;
  const SegmentState* state_;
  const UserState& user_;
  Time now_;
  Fold& fold_;
};

}  // namespace

pb::Explanation ExplainMembership(const RuleSet& rules, Fold& fold, Slot slot, Time now,
                                  const UserState& user) {
  pb::Explanation out;
  const ActiveSegment* active = rules.segment(slot);
  if (!active || active->deleting) return out;
  const SegmentState* state = FindSegment(user.present, slot);
  const bool member = state && state->member;
  out.set_segment_version(active->segment.version());
  out.set_member(member);
  if (member) SetTimestamp(state->since, out.mutable_since());
  SetTimestamp(now, out.mutable_now());
  pb::Finding& root = *out.mutable_root();
  root.set_path("live");
  root.set_holds(member);
  if (user.exists_since == Time::Max()) {
    root.set_text("the user is not known: no event was read");
  } else {
    root.set_text(
        !member ? "not a member"
                : absl::StrCat("a member since ", FormatTimestamp(state->since),
                               state->trigger == kNoTrigger ? ", by an earlier version" : ""));
  }
  if (member) {
    SetTimestamp(state->since, root.mutable_since());
    if (state->exit_at != Time::Max()) SetTimestamp(state->exit_at, root.mutable_until());
  }
  Explainer(rules.compiled().rules[slot], active->segment.live(), state, user, now, fold)
      .explain(root);
  return out;
}

}  // namespace segmentd
