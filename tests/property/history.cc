#include "tests/property/history.h"

#include <algorithm>
#include <cstddef>
#include <functional>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"

#include "segment/definition_text.h"

namespace segmentd::property {
namespace {

namespace pb = segments::v1;

std::string Text(Time time) {
  if (time == Time::Min()) return "-";
  if (time == Time::Max()) return "never";
  // Histories stay within a few days: the date is noise.
  return FormatTimestamp(time).substr(5, 18);
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

// Simpler forms of one definition.
std::vector<pb::Segment> Simpler(const pb::Segment& segment) {
  std::vector<pb::Segment> out;
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
    const pb::Expression& filter = segment.live().filter();
    const auto to = [&](const pb::Expression& part) {
      with([copy = part](pb::Live* live) { *live->mutable_filter() = copy; });
    };
    if (filter.has_not_()) to(filter.not_());
    for (const auto& part : filter.all_of()) to(part);
    for (const auto& part : filter.any_of()) to(part);
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
        absl::StrAppend(&out, "restart\n");
        break;
    }
  }
  return out;
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
    for (const auto& [name, value] : record.properties) {
      with(i, [&](Item* it) { it->record.properties.erase(name); });
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
  return out;
}

}  // namespace segmentd::property
