#include "tests/property/history.h"

#include <algorithm>
#include <cstddef>
#include <functional>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"

#include "segment/definition_check.h"
#include "segment/definition_text.h"
#include "tests/property/conditions.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;

std::string Text(Time time) {
  if (time == Time::Min()) return "-";
  if (time == Time::Max()) return "never";
  // Histories stay within a year: it is noise.
  const std::string text = FormatTimestamp(time);
  return text.substr(text.starts_with("2026") ? 5 : 0,
                     text.size() - (text.starts_with("2026") ? 6 : 1));
}

std::string Text(const Scalar& scalar) {
  if (const auto* text = std::get_if<std::string>(&scalar)) return absl::StrCat("\"", *text, "\"");
  if (const auto* number = std::get_if<double>(&scalar)) return absl::StrCat(*number);
  return std::get<bool>(scalar) ? "true" : "false";
}

std::string Text(const Datum& datum) {
  if (const auto* text = std::get_if<std::string>(&datum)) return Text(Scalar(*text));
  if (const auto* number = std::get_if<double>(&datum)) return Text(Scalar(*number));
  if (const auto* boolean = std::get_if<bool>(&datum)) return Text(Scalar(*boolean));
  if (const auto* list = std::get_if<std::vector<Scalar>>(&datum)) {
    std::string text = "[";
    for (const Scalar& item : *list) absl::StrAppend(&text, text == "[" ? "" : ", ", Text(item));
    return text + "]";
  }
  return "missing";
}

std::string_view Text(ProfileOperation operation) {
  switch (operation) {
    case ProfileOperation::kSet:
      return "set";
    case ProfileOperation::kDelete:
      return "delete";
    case ProfileOperation::kAdd:
      return "add";
    case ProfileOperation::kRemove:
      return "remove";
    case ProfileOperation::kIncrement:
      return "incr";
    case ProfileOperation::kDecrement:
      return "decr";
  }
  return "?";
}

// Simpler forms of one `did`.
std::vector<pb::Did> Simpler(const pb::Did& did) {
  std::vector<pb::Did> out;
  const auto with = [&](const std::function<void(pb::Did*)>& change) {
    pb::Did simpler = did;
    change(&simpler);
    if (!google::protobuf::util::MessageDifferencer::Equals(simpler, did)) out.push_back(simpler);
  };
  with([](pb::Did* d) {
    d->clear_within_last();
    d->clear_between();
    d->clear_during();
    d->clear_time_zone();
    d->clear_week_starts();
  });
  with([](pb::Did* d) { d->clear_time_zone(); });
  with([](pb::Did* d) { d->clear_week_starts(); });
  with([](pb::Did* d) { d->clear_where(); });
  with([](pb::Did* d) { d->clear_first_time(); });
  with([](pb::Did* d) { d->clear_include_users_who_did_not(); });
  with([](pb::Did* d) { d->clear_count(); });
  with([](pb::Did* d) { d->clear_sum(); });
  with([](pb::Did* d) { d->clear_average(); });
  if (did.count().has_at_least() && did.count().has_at_most()) {
    with([](pb::Did* d) { d->mutable_count()->clear_at_most(); });
    with([](pb::Did* d) { d->mutable_count()->clear_at_least(); });
  }
  return out;
}

// Simpler forms of an expression: its parts alone, and the whole with less.
std::vector<pb::Expression> Simpler(const pb::Expression& e) {
  std::vector<pb::Expression> out;
  const auto whole = [&](const std::function<void(pb::Expression*)>& change) {
    change(&out.emplace_back(e));
  };
  if (e.has_not_()) {
    out.push_back(e.not_());
    for (auto& part : Simpler(e.not_())) {
      whole([&](pb::Expression* w) { *w->mutable_not_() = std::move(part); });
    }
  }
  if (e.has_did_not()) *out.emplace_back().mutable_did() = e.did_not();
  if (e.has_did()) {
    for (auto& did : Simpler(e.did())) {
      whole([&](pb::Expression* w) { *w->mutable_did() = std::move(did); });
    }
  }
  if (e.has_did_not()) {
    for (auto& did : Simpler(e.did_not())) {
      whole([&](pb::Expression* w) { *w->mutable_did_not() = std::move(did); });
    }
  }
  const auto list = [&](auto get) {
    pb::Expression copy = e;
    const auto& parts = *get(copy);
    for (const auto& part : parts) out.push_back(part);
    for (int i = 0; i < parts.size(); ++i) {
      if (parts.size() > 1) {
        whole([&](pb::Expression* w) { get(*w)->DeleteSubrange(i, 1); });
      }
      for (auto& part : Simpler(parts[i])) {
        whole([&](pb::Expression* w) { *get(*w)->Mutable(i) = std::move(part); });
      }
    }
  };
  if (e.all_of_size() > 0) list([](pb::Expression& w) { return w.mutable_all_of(); });
  if (e.any_of_size() > 0) list([](pb::Expression& w) { return w.mutable_any_of(); });
  return out;
}

// Simpler forms of one definition.
std::vector<pb::Segment> Simpler(const pb::Segment& segment) {
  std::vector<pb::Segment> out;
  if (segment.has_past_behavior()) {
    for (pb::Expression& expression : Simpler(segment.past_behavior())) {
      *out.emplace_back(segment).mutable_past_behavior() = std::move(expression);
    }
    return out;
  }
  const auto with = [&](const std::function<void(pb::Live*)>& change) {
    pb::Segment simpler = segment;
    change(simpler.mutable_live());
    if (!google::protobuf::util::MessageDifferencer::Equals(simpler, segment)) {
      out.push_back(std::move(simpler));
    }
  };
  with([](pb::Live* live) { live->clear_filter(); });
  with([](pb::Live* live) { live->clear_exit(); });
  if (segment.live().has_filter()) {
    for (pb::Expression& filter : Simpler(segment.live().filter())) {
      with([&](pb::Live* live) { *live->mutable_filter() = std::move(filter); });
    }
  }
  if (segment.live().has_date_time()) {
    with([](pb::Live* live) { live->mutable_date_time()->clear_offset(); });
    with([](pb::Live* live) {
      live->mutable_date_time()->clear_at();
      if (live->date_time().recurring().empty()) live->mutable_date_time()->clear_time_zone();
    });
    with([](pb::Live* live) {
      live->mutable_date_time()->clear_recurring();
      if (live->date_time().at().empty()) live->mutable_date_time()->clear_time_zone();
    });
    with([](pb::Live* live) { live->mutable_date_time()->clear_time_zone(); });
  }
  if (segment.live().has_sequence()) {
    const int steps = segment.live().sequence().steps_size();
    for (int i = 0; i < steps; ++i) {
      const auto step = [i](pb::Live* live) { return live->mutable_sequence()->mutable_steps(i); };
      if (steps > 2) {
        with([i](pb::Live* live) {
          live->mutable_sequence()->mutable_steps()->DeleteSubrange(i, 1);
        });
      }
      with([&](pb::Live* live) { step(live)->clear_where(); });
      with([&](pb::Live* live) {
        if (step(live)->has_did_not()) {
          step(live)->mutable_did_not()->clear_where();
        } else {
          step(live)->clear_within();
        }
      });
    }
    with([](pb::Live* live) { live->mutable_sequence()->clear_repeat(); });
  }
  const auto conditions = [&](auto get) {
    const int size = get(*pb::Segment(segment).mutable_live())->size();
    for (int i = 0; size > 1 && i < size; ++i) {
      with([&](pb::Live* live) { get(*live)->DeleteSubrange(i, 1); });
    }
    for (int i = 0; i < size; ++i) {
      const int tests = get(*pb::Segment(segment).mutable_live())->Get(i).where_size();
      for (int j = 0; j < tests; ++j) {
        with(
            [&](pb::Live* live) { get(*live)->Mutable(i)->mutable_where()->DeleteSubrange(j, 1); });
      }
    }
  };
  if (segment.live().exit().on_size() > 0) {
    conditions([](pb::Live& live) { return live.mutable_exit()->mutable_on(); });
  }
  if (segment.live().has_actions()) {
    conditions([](pb::Live& live) { return live.mutable_actions()->mutable_any_of(); });
    with([](pb::Live* live) { live->mutable_actions()->clear_repeat(); });
  }
  if (segment.live().has_inaction()) {
    conditions([](pb::Live& live) { return live.mutable_inaction()->mutable_does_not_do(); });
    with([](pb::Live* live) { live->mutable_inaction()->clear_restart(); });
    with([](pb::Live* live) { live->mutable_inaction()->clear_match(); });
    with([](pb::Live* live) { live->mutable_inaction()->mutable_trigger()->clear_where(); });
  }
  if (segment.live().has_page_visit()) {
    with([](pb::Live* live) { live->mutable_page_visit()->clear_repeat(); });
  }
  if (segment.live().has_referrer()) {
    with([](pb::Live* live) { live->mutable_referrer()->clear_repeat(); });
  }
  if (segment.live().has_page_count()) {
    with([](pb::Live* live) { live->mutable_page_count()->clear_repeat(); });
    with([](pb::Live* live) { live->mutable_page_count()->clear_distinct_urls(); });
    if (segment.live().page_count().at_least() > 1) {
      with([](pb::Live* live) {
        live->mutable_page_count()->set_at_least(live->page_count().at_least() - 1);
      });
    }
  }
  return out;
}

}  // namespace

std::string Describe(const Record& record) {
  std::string out =
      absl::StrCat("user ", record.user, "  ", record.name.empty() ? "(profile)" : record.name,
                   "  time ", Text(record.time));
  if (record.record_time != record.time) {
    absl::StrAppend(&out, "  record time ", Text(record.record_time));
  }
  if (!record.message_id.empty()) absl::StrAppend(&out, "  id ", record.message_id);
  for (const auto& [name, value] : record.properties) {
    absl::StrAppend(&out, "  ", name, "=", Text(value));
  }
  for (const Command& command : record.profile) {
    const std::string_view operation = Text(command.operation);
    absl::StrAppend(&out, "  $", absl::string_view(operation.data(), operation.size()), " ",
                    command.property, " ", Text(command.value));
  }
  return out;
}

std::string Describe(const History& history) {
  std::string out =
      absl::StrCat("max_lateness ", FormatDuration(history.settings.max_lateness),
                   ", deadline_grace ", FormatDuration(history.settings.deadline_grace),
                   ", max_facts ", history.settings.max_facts, "\n");
  for (size_t i = 0; i < history.items.size(); ++i) {
    const Item& item = history.items[i];
    absl::StrAppend(&out, "#", i, " clock ", Text(item.clock), "  ");
    switch (item.kind) {
      case Item::Kind::kRecord:
        absl::StrAppend(&out, Describe(item.record), "\n");
        break;
      case Item::Kind::kAdvance:
        absl::StrAppend(&out, "advance\n");
        break;
      case Item::Kind::kDefine:
        absl::StrAppend(&out, "define slot ", item.slot, ":\n", SegmentToYaml(item.segment), "\n");
        break;
      case Item::Kind::kDelete:
        absl::StrAppend(&out, "delete slot ", item.slot, "\n");
        break;
      case Item::Kind::kRestart:
        absl::StrAppend(&out, item.amid_turns ? "restart amid turns\n" : "restart\n");
        break;
    }
  }
  return out;
}

bool CanRun(const History& history) {
  std::map<Slot, pb::Segment> defined;
  const auto slot_of = [&](const std::string& id) {
    return std::find_if(defined.begin(), defined.end(),
                        [&](const auto& other) { return other.second.id() == id; });
  };
  const std::function<bool(const pb::Segment&, const std::string&)> leads_to =
      [&](const pb::Segment& from, const std::string& id) {
        const auto references = References(ExpressionOf(from));
        return std::any_of(references.begin(), references.end(), [&](const std::string& next) {
          if (next == id) return true;
          const auto inner = slot_of(next);
          return inner != defined.end() && leads_to(inner->second, id);
        });
      };
  for (const Item& item : history.items) {
    // Others may refer to it all the same.
    if (item.kind == Item::Kind::kDelete) defined.erase(item.slot);
    if (item.kind != Item::Kind::kDefine) continue;
    if (!CheckSegment(item.segment).empty()) return false;
    const auto was = defined.find(item.slot);
    if (was != defined.end() &&
        was->second.has_past_behavior() != item.segment.has_past_behavior()) {
      return false;
    }
    if (leads_to(item.segment, item.segment.id())) return false;
    defined[item.slot] = item.segment;
  }
  return true;
}

std::vector<History> Simpler(const History& history) {
  std::vector<History> out;
  const auto without = [&](size_t begin, size_t end) {
    History simpler = history;
    simpler.items.erase(simpler.items.begin() + static_cast<ptrdiff_t>(begin),
                        simpler.items.begin() + static_cast<ptrdiff_t>(end));
    out.push_back(std::move(simpler));
  };
  const size_t size = history.items.size();
  for (size_t chunk = size / 2; chunk > 1; chunk /= 2) {
    for (size_t begin = 0; begin < size; begin += chunk) {
      without(begin, std::min(size, begin + chunk));
    }
  }
  for (int user = 0; user < history.users; ++user) {
    History simpler = history;
    std::erase_if(simpler.items, [&](const Item& item) {
      return item.kind == Item::Kind::kRecord && item.record.user == user;
    });
    if (simpler.items.size() < size) out.push_back(std::move(simpler));
  }
  for (size_t i = 0; i < size; ++i) without(i, i + 1);

  const auto with = [&](size_t i, const std::function<void(Item*)>& change) {
    History simpler = history;
    change(&simpler.items[i]);
    out.push_back(std::move(simpler));
  };
  for (size_t i = 0; i < size; ++i) {
    const Item& item = history.items[i];
    if (item.clock != Time::Min() && item.kind == Item::Kind::kRecord) {
      with(i, [](Item* it) { it->clock = Time::Min(); });
    }
    if (item.kind == Item::Kind::kDefine) {
      for (pb::Segment& segment : Simpler(item.segment)) {
        with(i, [&](Item* it) { it->segment = std::move(segment); });
      }
    }
    if (item.kind != Item::Kind::kRecord) continue;
    const Record& record = item.record;
    if (!record.message_id.empty()) with(i, [](Item* it) { it->record.message_id.clear(); });
    for (const auto& property : record.properties) {
      with(i, [&](Item* it) { it->record.properties.erase(property.first); });
    }
    for (size_t j = 0; j < record.profile.size(); ++j) {
      with(i, [&](Item* it) {
        it->record.profile.erase(it->record.profile.begin() + static_cast<ptrdiff_t>(j));
      });
    }
    if (record.record_time > record.time) {
      with(i, [](Item* it) { it->record.record_time = it->record.time; });
    }
  }
  std::erase_if(out, [](const History& simpler) { return !CanRun(simpler); });
  return out;
}

}  // namespace segmentd::property
