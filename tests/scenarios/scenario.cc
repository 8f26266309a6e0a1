#include "tests/scenarios/scenario.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

#include "segment/absl_view.h"
#include "segment/definition_check.h"
#include "segment/definition_text.h"
#include "stream/change_codec.h"

namespace segmentd::scenario {
namespace {

std::vector<std::string> Lines(std::string_view text) {
  std::vector<std::string> lines = absl::StrSplit(AbslView(text), '\n');
  lines.erase(std::remove_if(lines.begin(), lines.end(),
                             [](const std::string& l) { return l.empty() || l[0] == '#'; }),
              lines.end());
  return lines;
}

std::string TakeWord(std::string* line) {
  const size_t end = std::min(line->find(' '), line->size());
  std::string word = line->substr(0, end);
  line->erase(0, std::min(line->size(), line->find_first_not_of(' ', end)));
  return word;
}

std::optional<Time> ReadTime(std::string word) {
  if (word.find('-') == std::string::npos) word = "2026-11-22T" + word;
  Time time;
  if (!ParseTimestamp(word, &time)) return std::nullopt;
  return time;
}

void AppendFinding(const segments::v1::Finding& finding, int depth, std::string* out) {
  out->append(static_cast<size_t>(depth) * 2, ' ');
  std::string text = finding.text();
  const auto say = [&](std::string_view word, const google::protobuf::Timestamp& moment) {
    const std::string time =
        FormatTimestamp(Time::Millis(moment.seconds() * 1000 + moment.nanos() / 1'000'000));
    if (text.find(time) == std::string::npos) {
      absl::StrAppend(&text, ", ", AbslView(word), " ", time);
    }
  };
  if (finding.has_since()) say("since", finding.since());
  if (finding.has_until()) say("until", finding.until());
  absl::StrAppend(out, finding.path(), ": ", text,
                  finding.has_holds() ? (finding.holds() ? " [holds]" : " [does not hold]") : "",
                  "\n");
  for (const auto& child : finding.children()) AppendFinding(child, depth + 1, out);
}

}  // namespace

Scenario::Scenario() : decoder_(settings_) {}

std::string Scenario::run(std::string_view command, std::string_view input) {
  if (command == "segments") return segments(input);
  if (command == "delete") return remove(input);
  if (command == "pause") return pause(input, true);
  if (command == "resume") return pause(input, false);
  if (command == "settings") return settings(input);
  if (command == "events") return events(input, false);
  if (command == "json") return events(input, true);
  if (command == "clock") return clock(input);
  if (command == "members") return members(input);
  if (command == "explain") return explain(input);
  if (command == "counters") return counters();
  return absl::StrCat("unknown command: ", AbslView(command), "\n");
}

std::string Scenario::settings(std::string_view input) {
  std::string out;
  for (const std::string& line : Lines(input)) {
    const std::pair<std::string, std::string> setting =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    const auto duration = ParseDuration(setting.second);
    if (setting.first == "max_facts" && absl::SimpleAtoi(setting.second, &settings_.max_facts)) {
    } else if (!duration.ok()) {
      absl::StrAppend(&out, "not a duration: ", setting.second, "\n");
    } else if (setting.first == "max_lateness") {
      settings_.max_lateness = *duration;
    } else if (setting.first == "deadline_grace") {
      settings_.deadline_grace = *duration;
    } else if (setting.first == "max_future_skew") {
      settings_.max_future_skew = *duration;
    } else {
      absl::StrAppend(&out, "unknown setting: ", setting.first, "\n");
    }
  }
  decoder_ = Decoder(settings_);
  return out;
}

absl::Status Scenario::use_rules(std::vector<ActiveSegment> active) {
  auto rules = RuleSet::Compile(active);
  if (!rules.ok()) return rules.status();
  active_ = std::move(active);
  ++last_change_number_;
  if (!engine_) {
    engine_.emplace(*std::move(rules), settings_);
    return absl::OkStatus();
  }
  engine_->use(*std::move(rules));
  for (auto& [id, user] : users_) engine_->take_over(user);
  return absl::OkStatus();
}

std::string Scenario::segments(std::string_view input) {
  const auto documents = ReadSegmentDocuments(input);
  if (!documents.ok()) return absl::StrCat(documents.status().message(), "\n");
  std::string out;
  std::vector<segments::v1::Segment> read;
  for (const SegmentDocument& document : *documents) {
    std::vector<Violation> violations = document.violations;
    if (violations.empty()) violations = CheckSegment(document.segment);
    for (const Violation& v : violations) {
      absl::StrAppend(&out, v.unimplemented ? "UNIMPLEMENTED " : "", v.path, ": ", v.message, "\n");
    }
    read.push_back(document.segment);
  }
  if (!out.empty()) return out;
  std::vector<ActiveSegment> active = active_;
  for (segments::v1::Segment& segment : read) define(std::move(segment), &active);
  const absl::Status status = use_rules(std::move(active));
  return status.ok() ? "ok\n" : absl::StrCat(status.message(), "\n");
}

void Scenario::define(segments::v1::Segment segment, std::vector<ActiveSegment>* active) const {
  const auto known = std::find_if(active->begin(), active->end(), [&](const ActiveSegment& other) {
    return other.segment.id() == segment.id();
  });
  segment.set_version(known == active->end() ? 1 : known->segment.version() + 1);
  ActiveSegment next;
  next.slot = known == active->end() ? static_cast<Slot>(active->size()) : known->slot;
  next.paused = segment.paused();
  next.segment = std::move(segment);
  next.activation_offset = Offset(next_offset_);
  next.activation_clock = clock_;
  next.changed_offset = next.activation_offset;
  next.changed_clock = clock_;
  next.change_number = last_change_number_ + 1;
  if (known == active->end()) {
    active->push_back(std::move(next));
  } else {
    *known = std::move(next);
  }
}

std::string Scenario::pause(std::string_view input, bool paused) {
  std::vector<ActiveSegment> active = active_;
  for (const std::string& id : Lines(input)) {
    const auto known = std::find_if(active.begin(), active.end(), [&](const ActiveSegment& a) {
      return a.segment.id() == id && !a.deleting;
    });
    if (known == active.end()) return absl::StrCat("no such segment: ", id, "\n");
    segments::v1::Segment segment = known->segment;
    segment.set_paused(paused);
    define(std::move(segment), &active);
  }
  const absl::Status status = use_rules(std::move(active));
  return status.ok() ? "ok\n" : absl::StrCat(status.message(), "\n");
}

std::string Scenario::remove(std::string_view input) {
  std::string out;
  for (const std::string& id : Lines(input)) {
    std::vector<ActiveSegment> active = active_;
    const auto known = std::find_if(active.begin(), active.end(), [&](const ActiveSegment& a) {
      return a.segment.id() == id && !a.deleting;
    });
    if (known == active.end()) {
      absl::StrAppend(&out, "no such segment: ", id, "\n");
      continue;
    }
    known->deleting = true;
    known->changed_offset = Offset(next_offset_);
    known->changed_clock = clock_;
    known->change_number = last_change_number_ + 1;
    const Slot slot = known->slot;
    if (absl::Status status = use_rules(std::move(active)); !status.ok()) {
      return absl::StrCat(status.message(), "\n");
    }
    for (auto& [user, state] : users_) {
      engine_->remove(slot, clock_, state, changes_);
      print(user, &out);
    }
  }
  return out;
}

void Scenario::print(const std::string& user, std::string* out) {
  ChangeEncoder encoder(ChangeFormat::kJson, "events", 0);
  for (const Change& change : changes_) {
    const segments::v1::Segment& segment = engine_->rules().segment(change.slot)->segment;
    if (segment.shadow()) continue;
    std::string json;
    encoder.append(change, segment, user, next_change_++, &json);
    if (as_json_) {
      absl::StrAppend(out, json, "\n");
      continue;
    }
    // By way of the record, so that what is compared is what was told.
    const auto told = DecodeChange(json).value();
    const auto time = [](const google::protobuf::Timestamp& t) {
      return FormatTimestamp(Time::Millis(t.seconds() * 1000 + t.nanos() / 1'000'000));
    };
    absl::StrAppend(out, time(told.at()), " ", told.user_id(), " ",
                    segments::v1::Action_Name(told.action()), " ", told.segment_id(), " ",
                    segments::v1::Reason_Name(told.reason()));
    if (told.has_cause()) {
      absl::StrAppend(out, " cause: ", told.cause().event(), " @ ", time(told.cause().at()),
                      told.cause().message_id().empty() ? "" : " #", told.cause().message_id());
    }
    absl::StrAppend(out, "\n");
  }
  changes_.clear();
}

// As the server does: deadlines of all users in the order of time.
void Scenario::fire(Time clock, std::string* out) {
  if (clock <= clock_) return;
  clock_ = clock;
  while (true) {
    Time next = Time::Max();
    for (const auto& [id, user] : users_) next = std::min(next, user.next_deadline);
    if (next > clock || next == Time::Max()) return;
    for (auto& [id, user] : users_) {
      if (user.next_deadline != next) continue;
      engine_->advance(next, user, changes_);
      print(id, out);
    }
  }
}

void Scenario::apply(std::string_view text, std::string* out) {
  std::string line(text);
  const auto time = ReadTime(TakeWord(&line));
  auto record_time = time;
  if (!line.empty() && line[0] == '@') record_time = ReadTime(TakeWord(&line).substr(1));
  if (!time || !record_time) {
    absl::StrAppend(out, "not a time: ", AbslView(text), "\n");
    return;
  }
  const std::string user = TakeWord(&line);
  std::string body = line;
  if (line.empty() || line[0] != '{') {
    const size_t brace = line.find(" {");
    std::string name = line.substr(0, brace);
    const std::string properties = brace == std::string::npos ? "{}" : line.substr(brace + 1);
    std::string message_id;
    if (const size_t mark = name.find(" #"); mark != std::string::npos) {
      message_id = absl::StrCat(R"("messageId":")", name.substr(mark + 2), R"(",)");
      name.resize(mark);
    }
    body = absl::StrCat("{", message_id, R"("userId":")", user, R"(","timestamp":"$time",)");
    if (name == "identify") {
      absl::StrAppend(&body, R"("type":"identify","traits":)", properties, "}");
    } else if (name == "page") {
      absl::StrAppend(&body, R"("type":"page","properties":)", properties, "}");
    } else {
      absl::StrAppend(&body, R"("type":"track","event":")", name, R"(","properties":)", properties,
                      "}");
    }
  }
  body = absl::StrReplaceAll(body, {{"$time", FormatTimestamp(*time)}});

  Record record;
  record.offset = Offset(next_offset_++);
  record.record_time = *record_time;
  record.has_key = true;
  record.key = user;
  record.value = body;
  fire(*record_time - settings_.deadline_grace, out);
  if (!engine_) engine_.emplace(RuleSet::Compile({}).value(), settings_);
  Event event;
  std::string_view id;
  const DecodeResult decoded = decoder_.decode(record, engine_->rules().fields(), &event, &id);
  if (!decoded.ok()) {
    ++counts_["dead_letters"];
    absl::StrAppend(out, "dead letter: ", AbslView(decoded.detail), "\n");
    return;
  }
  if (decoded.time_replaced) ++counts_["time_replaced"];
  switch (engine_->apply(event, clock_, users_[user], changes_)) {
    case Outcome::kApplied:
      ++counts_["applied"];
      break;
    case Outcome::kLate:
      ++counts_["late"];
      break;
    case Outcome::kTooLate:
      ++counts_["too_late"];
      break;
    case Outcome::kDuplicate:
      ++counts_["duplicates"];
      break;
  }
  print(user, out);
}

std::string Scenario::events(std::string_view input, bool as_json) {
  as_json_ = as_json;
  std::string out;
  for (const std::string& line : Lines(input)) apply(line, &out);
  as_json_ = false;
  return out;
}

std::string Scenario::clock(std::string_view input) {
  std::string out;
  for (const std::string& line : Lines(input)) {
    const auto time = ReadTime(line);
    if (!time) return absl::StrCat("not a time: ", line, "\n");
    fire(*time - settings_.deadline_grace, &out);
  }
  return out;
}

std::string Scenario::members(std::string_view input) {
  std::string out;
  for (const std::string& id : Lines(input)) {
    const ActiveSegment* segment = engine_ ? engine_->rules().find(id) : nullptr;
    absl::StrAppend(&out, id, ":");
    if (!segment) absl::StrAppend(&out, " no such segment");
    for (const auto& [user, state] : users_) {
      if (segment && IsMember(state, segment->slot)) absl::StrAppend(&out, " ", user);
    }
    absl::StrAppend(&out, "\n");
  }
  return out;
}

std::string Scenario::explain(std::string_view input) {
  std::string out;
  for (std::string line : Lines(input)) {
    const std::string id = TakeWord(&line);
    const ActiveSegment* segment = engine_ ? engine_->rules().find(id) : nullptr;
    if (!segment) return absl::StrCat("no such segment: ", id, "\n");
    AppendFinding(engine_->explain(segment->slot, clock_, users_[line]).root(), 0, &out);
  }
  return out;
}

std::string Scenario::counters() const {
  auto counts = counts_;
  const int64_t dropped = engine_ ? engine_->counters().pendings_dropped : 0;
  if (dropped > 0) counts["pendings_dropped"] = dropped;
  std::string out;
  for (const auto& [name, count] : counts) absl::StrAppend(&out, name, ": ", count, "\n");
  return out;
}

std::string RunScenario(std::string_view file) {
  Scenario scenario;
  std::string out;
  std::string command;
  std::string input;
  enum { kBetween, kInput, kOutput } at = kBetween;
  std::vector<std::string> lines = absl::StrSplit(AbslView(file), '\n');
  if (!lines.empty() && lines.back().empty()) lines.pop_back();
  lines.emplace_back();
  for (const std::string& line : lines) {
    switch (at) {
      case kBetween:
        absl::StrAppend(&out, line, "\n");
        if (line.empty() || line[0] == '#') break;
        command = line;
        input.clear();
        at = kInput;
        break;
      case kInput:
        absl::StrAppend(&out, line, "\n");
        if (line == "----") {
          absl::StrAppend(&out, scenario.run(command, input), "\n");
          at = kOutput;
        } else {
          absl::StrAppend(&input, line, "\n");
        }
        break;
      case kOutput:
        if (line.empty()) at = kBetween;
        break;
    }
  }
  while (out.size() > 1 && out[out.size() - 1] == '\n' && out[out.size() - 2] == '\n')
    out.pop_back();
  return out;
}

}  // namespace segmentd::scenario
