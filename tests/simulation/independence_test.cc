// The life of other segments makes no difference: what is told of a segment must not depend on who
// else is created, edited, paused, resumed, cloned and deleted meanwhile, nor on how long that
// takes.
//
// A trial plays a random history twice with the same segments under test, the second time with
// others beside them, and compares what is told of those under test. It is its seed:
// SEGMENTD_SEED=N begins there ("random" anywhere), SEGMENTD_CASES=N sets how many each test makes.
//
// A second kind of trial compares past behaviour that is created amid the history, and reads what
// was before, with the same from the beginning: the members are to be the same.
//
// Left out is what docs/semantics.md tells of differences, and no more:
//  - What was said of a common property before anybody read it is known by its newest value alone.
//    The segments under test are ACTIVE before the first record.
//  - What is older than the user's now at their turn is late. A record is as old as its arrival, or
//    older than the user's newest event and so late for everybody.
//  - What came too late counts from a moment that is decided as a deadline is, where there is past
//    behaviour. kAll is always under test.
//  - A live segment whose filter refers to others is settled, with all to which such filters refer,
//    when one of these changes. Either those under test have such filters or the others have, which
//    then lead to others alone; where they lead to those under test, corrections may be told at
//    other times, since what was before such a change is not kept.
//  - An event that changes the profile and is not counted brings PROFILE_CHANGED, and what its
//    context says is part of the profile while somebody reads it. Whom the first event of all finds
//    to be in would be told of so: a first record has no context.
//  - A message that comes again after an activation counts by its second record. In trials of the
//    second kind none does.
//  - Bounds (max_facts, max_message_ids) are not reached.
// And what follows from how things are kept:
//  - A message is remembered where somebody has a use for it. kAll has for all events; a build's
//    history goes by the first that it can use itself, so one that comes again with another body
//    says of the same common properties, and in trials of the second kind no event comes again as
//    none.
//  - A history counts what came too late at once, and not from a moment within the grace on.
//    Members are compared after it.

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <initializer_list>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fmt/format.h"
#include "spdlog/spdlog.h"

#include "segment/definition_text.h"
#include "stream/change_codec.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/process.h"
#include "tests/simulation/random.h"

namespace segmentd::simulation {
namespace {

using segments::v1::Segment;

constexpr int64_t kUnitMs = 500;
constexpr int kUsers = 3;
// Of the history; the segments under test are ACTIVE before.
constexpr Time kStart = Time::Millis(1'790'000'010'000);
constexpr const char* kAll =
    "past_behavior: { any_of: [ { did: { event: A } }, { did: { event: B } }, { did: { event: C } "
    "}, { did: { event: X } }, { did: { event: Page Viewed } } ] }";

struct Item {
  enum class Kind {
    kRecord,
    // Creates the segment `id`, or edits it.
    kPut,
    kDelete,
    kPause,
    kResume,
    kRestart,
    // Those under test are created, where that is late.
    kBuild,
    // So many, beside others only: alone, everything is done at once.
    kTurns,
  };
  Kind kind = Kind::kRecord;
  Time wall;
  int user = 0;
  Time time;
  std::string body;
  // In its context.
  bool says_os = false;
  bool says_device = false;
  bool says_trial = false;
  // No event.
  bool profile = false;
  // Of the message or the segment.
  std::string id;
  std::string rule;
  bool shadow = false;
  int turns = 0;
};

struct Trial {
  Settings settings;
  int64_t history_rate = 30;
  size_t users_built_per_step = 1;
  // By ID.
  std::map<std::string, std::string> rules;
  std::vector<Item> items;
};

std::string Describe(const Trial& trial) {
  std::string text = fmt::format(
      "max_lateness {}, deadline_grace {}, {} records a poll of the history, {} users a step\n",
      FormatDuration(trial.settings.max_lateness), FormatDuration(trial.settings.deadline_grace),
      trial.history_rate, trial.users_built_per_step);
  for (const auto& [id, rule] : trial.rules) text += fmt::format("{}: {}\n", id, rule);
  for (const Item& item : trial.items) {
    text += fmt::format("{} ", (item.wall - kStart).millis());
    switch (item.kind) {
      case Item::Kind::kRecord:
        text +=
            fmt::format("user u{} at {}: {}", item.user, (item.time - kStart).millis(), item.body);
        break;
      case Item::Kind::kPut:
        text += fmt::format("put {}{}: {}", item.id, item.shadow ? " (shadow)" : "", item.rule);
        break;
      case Item::Kind::kDelete:
        text += fmt::format("delete {}", item.id);
        break;
      case Item::Kind::kPause:
        text += fmt::format("pause {}", item.id);
        break;
      case Item::Kind::kResume:
        text += fmt::format("resume {}", item.id);
        break;
      case Item::Kind::kRestart:
        text += "restart";
        break;
      case Item::Kind::kBuild:
        text += "build";
        break;
      case Item::Kind::kTurns:
        text += fmt::format("{} turns", item.turns);
        break;
    }
    text += "\n";
  }
  return text;
}

// --- The making of trials.

struct Shape {
  // Live segments under test have filters that refer to segments; otherwise the others have.
  bool following = false;
  // The others' filters refer to those under test.
  bool followed = false;
  // Past behaviour alone, without others, and a moment at which it may be created.
  bool built_late = false;
};

class Generator {
 public:
  Generator(uint64_t seed, Shape shape) : random_(seed), shape_(shape) {}
  Trial run();

 private:
  template <typename T>
  T one_of(std::initializer_list<T> all) {
    return *(all.begin() + random_.below(static_cast<int64_t>(all.size())));
  }
  bool percent(int64_t n) { return random_.percent(n); }
  std::string length(int64_t low, int64_t high) {
    return FormatDuration(Duration::Millis(kUnitMs * random_.between(low, high)));
  }
  std::string event() { return one_of<std::string>({"A", "A", "B", "B", "C", "Page Viewed"}); }

  std::string where();
  std::string condition() { return fmt::format("{{ event: {}{} }}", event(), where()); }
  std::string property();
  std::string did();
  std::string expression(int depth, const std::vector<std::string>& inner);
  std::string live(const std::vector<std::string>& inner);
  std::string past(const std::vector<std::string>& inner) {
    return fmt::format("past_behavior: {}", expression(0, inner));
  }
  std::string other(const Trial& trial, int number);
  void change_others(Trial& trial);
  Item record();

  Random random_;
  const Shape shape_;
  Settings settings_;
  Time wall_ = kStart;
  int64_t sent_ = 0;
  std::map<int, Time> newest_;
  std::vector<std::string> under_test_;
  // The rules, by number.
  std::map<int, std::string> others_;
  int created_ = 0;
  std::vector<Item> lately_;
};

std::string Generator::where() {
  switch (random_.below(6)) {
    case 0:
      return fmt::format(", where: [ {{ property: n, at_least: {} }} ]", random_.between(1, 2));
    case 1:
      return ", where: [ { property: context.os.name, equals: iOS } ]";
    default:
      return "";
  }
}

std::string Generator::property() {
  switch (random_.below(8)) {
    case 0:
    case 1:
    case 2:
      return fmt::format("{{ property: {{ property: context.os.name, {}: iOS }} }}",
                         one_of({"equals", "equals", "not_equals"}));
    case 3:
      return "{ property: { property: context.device.type, equals: phone } }";
    case 4:
      return "{ property: { property: context.device.type, exists: true } }";
    case 5:
      return fmt::format("{{ property: {{ property: when, {}: {} }} }}",
                         one_of({"within_last", "within_next"}), length(1, 6));
    case 6:
      return "{ property: { property: plan, exists: true } }";
    default:
      return "{ property: { property: plan, equals: gold } }";
  }
}

std::string Generator::did() {
  std::string did = fmt::format("event: {}{}", event(), where());
  if (percent(60)) did += fmt::format(", within_last: {}", length(1, 12));
  switch (random_.below(6)) {
    case 0:
    case 1:
      did += fmt::format(", count: {{ {}: {} }}", one_of({"at_least", "at_most", "equals"}),
                         random_.between(1, 3));
      break;
    case 2:
      did += fmt::format(", sum: {{ property: n, at_least: {} }}", random_.between(1, 5));
      break;
    case 3:
      did += ", first_time: true";
      break;
    default:
      break;
  }
  if (percent(20)) did += ", include_users_who_did_not: true";
  return fmt::format("{{ {}: {{ {} }} }}", one_of({"did", "did", "did_not"}), did);
}

std::string Generator::expression(int depth, const std::vector<std::string>& inner) {
  const int64_t form = random_.below(depth > 1 ? 7 : 10);
  if (!inner.empty() && form < 2) {
    return fmt::format(
        "{{ in_segment: {} }}",
        inner[static_cast<size_t>(random_.below(static_cast<int64_t>(inner.size())))]);
  }
  if (form < 4) return property();
  if (form < 7) return did();
  if (form == 7) return fmt::format("{{ not: {} }}", expression(depth + 1, inner));
  return fmt::format("{{ {}: [ {}, {} ] }}", form == 8 ? "all_of" : "any_of",
                     expression(depth + 1, inner), expression(depth + 1, inner));
}

std::string Generator::live(const std::vector<std::string>& inner) {
  const std::string repeat = percent(30) ? ", repeat: true" : "";
  std::string kind;
  switch (random_.below(9)) {
    case 0:
    case 1:
    case 2:
      kind = fmt::format("actions: {{ any_of: [ {} ]{} }}", condition(), repeat);
      break;
    case 3:
    case 4:
      kind =
          fmt::format("inaction: {{ trigger: {}, does_not_do: [ {} ], within: {}{} }}", condition(),
                      condition(), length(2, 6), one_of({"", "", ", restart: true", ", match: n"}));
      break;
    case 5:
      kind = fmt::format(
          "sequence: {{ steps: [ {}, {} ]{} }}", condition(),
          percent(50)
              ? fmt::format("{{ event: {}, within: {} }}", event(), length(2, 8))
              : fmt::format("{{ did_not: {{ event: {} }}, within: {} }}", event(), length(2, 6)),
          repeat);
      break;
    case 6:
      kind = fmt::format("date_time: {{ property: {}, offset: {} }}",
                         one_of({"when", "when", "context.trial.ends"}), length(1, 4));
      break;
    case 7:
      kind = fmt::format("page_count: {{ at_least: {}, {}{} }}", random_.between(1, 3),
                         percent(50) ? "per: session" : fmt::format("within: {}", length(2, 10)),
                         one_of({"", ", distinct_urls: true", ", repeat: true"}));
      break;
    default:
      kind = fmt::format("page_visit: {{ url: {{ contains: \"1\" }}{} }}", repeat);
      break;
  }
  switch (random_.below(4)) {
    case 0:
      kind += fmt::format(", exit: {{ after: {} }}", length(2, 10));
      break;
    case 1:
    case 2:
      kind += ", exit: { on: [ { event: X } ] }";
      break;
    default:
      break;
  }
  if (percent(65)) kind += fmt::format(", filter: {}", expression(1, inner));
  return fmt::format("live: {{ {} }}", kind);
}

// Those with even numbers keep to themselves, where others may follow them and not those under
// test.
std::string Generator::other(const Trial& trial, int number) {
  std::vector<std::string> closed;
  std::vector<std::string> any;
  for (const auto& [id, rule] : trial.rules) any.push_back(id);
  for (const auto& [lower, rule] : others_) {
    if (lower >= number) break;
    any.push_back(fmt::format("x{}", lower));
    if (lower % 2 == 0) closed.push_back(fmt::format("x{}", lower));
  }
  const bool was_past =
      others_.count(number) != 0 && others_.at(number).rfind("past_behavior", 0) == 0;
  const bool past = others_.count(number) != 0 ? was_past : percent(50);
  const bool keeps_to_itself = !shape_.following && !shape_.followed && number % 2 == 0;
  if (past) return this->past(keeps_to_itself ? closed : any);
  return live(shape_.followed ? any : keeps_to_itself ? closed : std::vector<std::string>());
}

void Generator::change_others(Trial& trial) {
  Item item;
  item.wall = wall_;
  const int64_t what = others_.empty() ? 0 : random_.below(8);
  int number = created_;
  if (what > 2) {
    number = std::next(others_.begin(), random_.below(static_cast<int64_t>(others_.size())))->first;
  }
  // Some come again under the ID.
  if (what == 0 && created_ > 0 && percent(50)) {
    const auto old = static_cast<int>(random_.below(created_));
    if (others_.count(old) == 0) number = old;
  }
  item.id = fmt::format("x{}", number);
  item.kind = Item::Kind::kPut;
  switch (what) {
    case 0:
    case 1:
      item.rule = other(trial, number);
      item.shadow = percent(20);
      break;
    case 2: {
      // A clone of one under test, unless that refers to some.
      const std::string& id =
          under_test_[static_cast<size_t>(random_.below(static_cast<int64_t>(under_test_.size())))];
      const std::string& rule = trial.rules.at(id);
      item.rule = rule.find("in_segment") == std::string::npos ? rule : other(trial, number);
      break;
    }
    case 3:
    case 4:
      item.rule = other(trial, number);
      break;
    case 5:
      item.kind = Item::Kind::kPause;
      break;
    case 6:
      item.kind = Item::Kind::kResume;
      break;
    default:
      item.kind = Item::Kind::kDelete;
      break;
  }
  if (item.kind == Item::Kind::kPut) {
    others_[number] = item.rule;
    created_ = std::max(created_, number + 1);
  }
  if (item.kind == Item::Kind::kDelete) others_.erase(number);
  trial.items.push_back(std::move(item));
}

Item Generator::record() {
  Item item;
  item.wall = wall_;
  item.user = static_cast<int>(random_.below(kUsers));
  std::string id = percent(20) ? "" : fmt::format("m{}", ++sent_);
  bool again = false;
  if (!lately_.empty() && percent(12)) {
    const Item& before =
        lately_[static_cast<size_t>(random_.below(static_cast<int64_t>(lately_.size())))];
    item.user = before.user;
    if (percent(50)) {
      item = before;
      item.wall = wall_;
      // Where it is no duplicate any more, it is late.
      if (item.time < newest_[item.user]) return item;
    }
    id = before.id;
    again = true;
    item.says_os = before.says_os;
    item.says_device = before.says_device;
    item.says_trial = before.says_trial;
    item.profile = before.profile;
  }
  item.id = id;
  item.time = wall_;
  if (const auto newest = newest_.find(item.user); newest != newest_.end() && percent(35)) {
    // Some too late.
    item.time = newest->second - Duration::Millis(kUnitMs * random_.between(1, 14));
  }
  const bool first = newest_.count(item.user) == 0;
  // A duplicate is none of the user's events.
  if (!again) {
    Time& newest = newest_[item.user];
    newest = std::max(newest, item.time);
  }

  const std::string message = id.empty() ? "" : fmt::format(R"("messageId":"{}",)", id);
  const auto add = [](std::string& all, const std::string& one) {
    all += all.empty() ? one : "," + one;
  };
  const auto os = [&] { return one_of({"iOS", "Android"}); };
  const std::string when =
      FormatTimestamp(item.time + Duration::Millis(kUnitMs * random_.between(-4, 8)));
  if (!again || !shape_.built_late) item.profile = percent(25);
  const bool clever_tap = percent(25);
  // An upload of a profile has no context.
  if (!again && !(item.profile && clever_tap)) {
    item.says_os = !first && percent(50);
    item.says_device = !first && percent(20);
    item.says_trial = !first && percent(10);
  }
  std::string context;
  if (item.says_os) add(context, fmt::format(R"("os":{{"name":"{}"}})", os()));
  if (item.says_device) {
    add(context, fmt::format(R"("device":{{"type":"{}"}})", one_of({"phone", "tablet"})));
  }
  if (item.says_trial) add(context, fmt::format(R"("trial":{{"ends":"{}"}})", when));
  if (!context.empty()) context = fmt::format(R"(,"context":{{{}}})", context);
  std::string traits;
  if (percent(50)) {
    traits =
        percent(25) ? R"("plan":null)" : fmt::format(R"("plan":"{}")", one_of({"gold", "basic"}));
  }
  if (percent(40)) add(traits, fmt::format(R"("when":"{}")", when));
  const int64_t n = random_.below(4);
  const std::string name = percent(20) ? "X" : event();
  const std::string user = fmt::format("u{}", item.user);
  const int64_t ms = item.time.millis();
  if (item.profile && clever_tap) {
    // They carry common properties under their own names.
    if (percent(30)) add(traits, fmt::format(R"("context":{{"os":{{"name":"{}"}}}})", os()));
    if (traits.empty()) traits = R"("plan":"gold")";
    item.body =
        fmt::format(R"({{"type":"profile",{}"identity":"{}","ts":{}.{:03},"profileData":{{{}}}}})",
                    message, user, ms / 1000, ms % 1000, traits);
  } else if (item.profile) {
    if (percent(30)) add(traits, fmt::format(R"("context":{{"os":{{"name":"{}"}}}})", os()));
    if (traits.empty()) traits = R"("plan":"gold")";
    item.body =
        fmt::format(R"({{"type":"identify",{}"userId":"{}","timestamp":{},"traits":{{{}}}{}}})",
                    message, user, ms, traits, context);
  } else if (name == "Page Viewed") {
    item.body = fmt::format(
        R"({{"type":"page",{}"userId":"{}","timestamp":{},"properties":{{"url":"https://x.org/{}","n":{}}}{}}})",
        message, user, ms, n, n, context);
  } else if (clever_tap) {
    item.body = fmt::format(
        R"({{"type":"event",{}"identity":"{}","ts":{}.{:03},"evtName":"{}","evtData":{{"n":{}}}{}}})",
        message, user, ms / 1000, ms % 1000, name, n, context);
  } else {
    item.body = fmt::format(
        R"({{"type":"track",{}"userId":"{}","timestamp":{},"event":"{}","properties":{{"n":{}}}{}}})",
        message, user, ms, name, n, context);
  }
  if (!id.empty()) {
    lately_.push_back(item);
    if (lately_.size() > 12) lately_.erase(lately_.begin());
  }
  return item;
}

Trial Generator::run() {
  Trial trial;
  settings_.max_lateness = Duration::Millis(kUnitMs * random_.between(4, 10));
  settings_.deadline_grace = Duration::Millis(kUnitMs * random_.below(3));
  trial.settings = settings_;
  trial.history_rate = random_.between(1, 30);
  trial.users_built_per_step = static_cast<size_t>(random_.between(1, 3));
  trial.rules["all"] = kAll;
  under_test_.emplace_back("all");
  for (int64_t i = 0, n = random_.between(4, 8); i < n; ++i) {
    const std::string id = fmt::format("c{}", i);
    trial.rules[id] = shape_.built_late || percent(45)
                          ? past(under_test_)
                          : live(shape_.following ? under_test_ : std::vector<std::string>());
    under_test_.push_back(id);
  }
  const int64_t records = random_.between(20, 60);
  const int64_t built_at = random_.between(records / 3, records - 1);
  for (int64_t i = 0; i < records; ++i) {
    if (percent(80)) wall_ = wall_ + Duration::Millis(kUnitMs * random_.between(1, 3));
    if (percent(5)) wall_ = wall_ + Duration::Seconds(random_.between(2, 10));
    trial.items.push_back(record());
    if (!shape_.built_late && percent(30)) change_others(trial);
    if (shape_.built_late && i == built_at) {
      trial.items.push_back({.kind = Item::Kind::kBuild, .wall = wall_});
      lately_.clear();
    }
    if (percent(3)) trial.items.push_back({.kind = Item::Kind::kRestart, .wall = wall_});
    if (percent(70)) {
      trial.items.push_back(
          {.kind = Item::Kind::kTurns, .wall = wall_, .turns = static_cast<int>(random_.below(8))});
    }
  }
  return trial;
}

// --- The playing.

Segment Make(const std::string& id, const std::string& rule) {
  auto documents = ReadSegmentDocuments(fmt::format("id: {}\nname: {}\n{}\n", id, id, rule));
  if (!documents.ok() || documents->size() != 1 || !documents->at(0).violations.empty()) {
    ADD_FAILURE() << "bad definition " << rule;
    std::abort();
  }
  return documents->at(0).segment;
}

// What is told of each segment under test and user.
using Story = std::map<std::string, std::vector<std::string>>;

enum class Way {
  // Those under test from the beginning, everything at once.
  kAlone,
  kBesideOthers,
  kBuiltLate,
};

class Play {
 public:
  Play(const Trial& trial, Way way) : trial_(trial), way_(way) {
    options_.restore_in_background = false;
    options_.backfill.background = false;
    options_.task.settings = trial.settings;
    options_.task.users_built_per_step = trial.users_built_per_step;
    options_.task.users_scanned_per_step = 2;
    cluster_.history_rate = trial.history_rate;
    cluster_.wall_stands = true;
    if (way != Way::kBuiltLate) put_all();
  }

  Story run() {
    start();
    publish();
    settle();
    for (const Item& item : trial_.items) {
      if (cluster_.wall < item.wall) {
        cluster_.monotonic += absl::Milliseconds((item.wall - cluster_.wall).millis());
        cluster_.wall = item.wall;
      }
      play(item);
      if (way_ == Way::kAlone) settle();
    }
    cluster_.pass(trial_.settings.deadline_grace);
    finish();
    members_.push_back(members());
    cluster_.pass(Duration::Minutes(1));
    finish();
    members_.push_back(members());
    return story();
  }
  // When all has fired that the history brought, and a minute after.
  const std::vector<std::set<std::string>>& all_members() const { return members_; }

 private:
  void start() {
    process_ = std::make_unique<Process>(cluster_, "one", options_);
    process_->worker().want(wanted_);
  }
  void turn() {
    process_->worker().turn();
    cluster_.monotonic += absl::Milliseconds(20);
  }
  void put_all() {
    for (const auto& [id, rule] : trial_.rules) put(id, rule, false);
  }
  void put(const std::string& id, const std::string& rule, bool shadow) {
    const auto was = defined_.find(id);
    Segment segment = Make(id, rule);
    segment.set_version(1);
    segment.set_shadow(shadow);
    if (was != defined_.end()) {
      segment.set_version(was->second.version() + 1);
      segment.set_paused(was->second.paused());
      segment.set_resumed_version(was->second.resumed_version());
      *segment.mutable_create_time() = was->second.create_time();
      // What it is does not change.
      if (segment.has_past_behavior() != was->second.has_past_behavior()) return;
    } else {
      segment.mutable_create_time()->set_seconds(++created_);
    }
    defined_[id] = segment;
  }
  void publish() {
    auto wanted = std::make_shared<std::vector<Segment>>();
    for (const auto& [id, segment] : defined_) wanted->push_back(segment);
    wanted_ = std::move(wanted);
    process_->worker().want(wanted_);
  }
  void play(const Item& item) {
    if (item.kind == Item::Kind::kRecord) {
      cluster_.append(0, InputRecord{.key = fmt::format("u{}", item.user),
                                     .value = item.body,
                                     .record_time = cluster_.wall});
      return;
    }
    if (way_ == Way::kAlone) return;
    const auto it = defined_.find(item.id);
    switch (item.kind) {
      case Item::Kind::kPut:
        put(item.id, item.rule, item.shadow);
        break;
      case Item::Kind::kDelete:
        if (it != defined_.end()) defined_.erase(it);
        break;
      case Item::Kind::kPause:
        if (it == defined_.end() || it->second.paused()) return;
        it->second.set_version(it->second.version() + 1);
        it->second.set_paused(true);
        break;
      case Item::Kind::kResume:
        if (it == defined_.end() || !it->second.paused()) return;
        it->second.set_version(it->second.version() + 1);
        it->second.set_paused(false);
        it->second.set_resumed_version(it->second.version());
        break;
      case Item::Kind::kRestart:
        process_.reset();
        start();
        return;
      case Item::Kind::kBuild:
        // What comes from here on comes after the activation.
        settle();
        put_all();
        publish();
        turn_until([&] { return runs(); });
        return;
      case Item::Kind::kTurns:
        for (int i = 0; i < item.turns; ++i) turn();
        return;
      case Item::Kind::kRecord:
        return;
    }
    publish();
  }
  // All in the versions that are wanted, built or not.
  bool runs() const {
    const Task* task = process_->worker().running(0);
    return task != nullptr &&
           std::all_of(defined_.begin(), defined_.end(), [&](const auto& defined) {
             const ActiveSegment* runs = task->engine().rules().find(defined.first);
             return runs != nullptr && runs->segment.version() == defined.second.version();
           });
  }
  bool settled() const {
    if (!runs()) return false;
    const Task* task = process_->worker().running(0);
    return !task->has_told() &&
           task->position().value() == static_cast<int64_t>(cluster_.input(0).size()) &&
           std::all_of(defined_.begin(), defined_.end(), [&](const auto& defined) {
             return defined.second.paused() || task->engine().rules().find(defined.first)->built;
           });
  }
  template <typename Condition>
  void turn_until(const Condition& condition) {
    for (int i = 0; i < 3'000; ++i) {
      if (condition()) return;
      turn();
    }
    broken_ = "does not settle";
    for (const auto& [p, entry] : process_->board().entries()) broken_ += ": " + entry.failure;
  }
  void settle() {
    for (int i = 0; i < 4; ++i) {
      turn();
      turn_until([&] { return settled(); });
    }
  }
  // What is due has fired as well.
  void finish() {
    settle();
    for (int i = 0; i < 60; ++i) turn();
  }
  // "segment user".
  std::set<std::string> members() const {
    std::set<std::string> members;
    for (const auto& [key, told] : story()) {
      for (const std::string& change : told) {
        if (change.rfind("ADD", 0) == 0) members.insert(key);
        if (change.rfind("REMOVE", 0) == 0) members.erase(key);
      }
    }
    return members;
  }
  Story story() const {
    Story story;
    if (!broken_.empty()) story["trial"] = {broken_};
    for (const OutputRecord* record : cluster_.read_committed(Topic::kChanges, 0)) {
      const auto change = DecodeChange(*record->value);
      if (trial_.rules.count(change->segment_id()) == 0) continue;
      const Time at =
          Time::Millis(change->at().seconds() * 1'000 + change->at().nanos() / 1'000'000);
      story[fmt::format("{} {}", change->segment_id(), change->user_id())].push_back(
          fmt::format("{} {} at {} because of {}", segments::v1::Action_Name(change->action()),
                      segments::v1::Reason_Name(change->reason()), (at - kStart).millis(),
                      change->has_cause() ? change->cause().event() : "-"));
    }
    return story;
  }

  const Trial& trial_;
  const Way way_;
  WorkerOptions options_;
  Cluster cluster_{1, 1};
  std::map<std::string, Segment> defined_;
  WantedDefinitions wanted_ = std::make_shared<const std::vector<Segment>>();
  std::unique_ptr<Process> process_;
  int64_t created_ = 0;
  std::string broken_;
  std::vector<std::set<std::string>> members_;
};

std::string Compare(const Story& alone, const Story& beside) {
  std::string text;
  static const std::vector<std::string> nothing;
  std::set<std::string> keys;
  for (const auto& [key, told] : alone) keys.insert(key);
  for (const auto& [key, told] : beside) keys.insert(key);
  for (const std::string& key : keys) {
    const auto a = alone.find(key);
    const auto b = beside.find(key);
    const auto& of_a = a == alone.end() ? nothing : a->second;
    const auto& of_b = b == beside.end() ? nothing : b->second;
    if (of_a == of_b) continue;
    text += fmt::format("{}\n  alone:  {}\n  beside: {}\n", key, fmt::join(of_a, "; "),
                        fmt::join(of_b, "; "));
  }
  return text;
}

// Of what is told alone and beside others.
std::string ToldDifferently(const Trial& trial) {
  return Compare(Play(trial, Way::kAlone).run(), Play(trial, Way::kBesideOthers).run());
}

// Of the members from the beginning and of those built late.
std::string OtherMembers(const Trial& trial) {
  if (std::none_of(trial.items.begin(), trial.items.end(),
                   [](const Item& item) { return item.kind == Item::Kind::kBuild; })) {
    return "";
  }
  Play early(trial, Way::kAlone);
  Play late(trial, Way::kBuiltLate);
  const Story told_early = early.run();
  const Story told_late = late.run();
  if (early.all_members() == late.all_members() && told_late.count("trial") == 0) return "";
  return Compare(told_early, told_late);
}

// The same without the times of corrections.
std::string ToldDifferentlyButForCorrections(const Trial& trial) {
  Play alone(trial, Way::kAlone);
  Play beside(trial, Way::kBesideOthers);
  const auto without_times = [](Story story) {
    for (auto& [key, told] : story) {
      for (std::string& change : told) {
        if (change.find("LATE_EVENT") != std::string::npos) change.resize(change.find(" at "));
      }
    }
    return story;
  };
  return Compare(without_times(alone.run()), without_times(beside.run()));
}

using Difference = std::string (*)(const Trial& trial);

// --- Failures.

// A first record without context; each as old as its arrival, or late.
bool Fits(const Trial& trial) {
  std::map<int, Time> newest;
  std::set<std::string> messages;
  for (const Item& item : trial.items) {
    if (item.kind != Item::Kind::kRecord) continue;
    const auto it = newest.find(item.user);
    if (it == newest.end() && item.body.find(R"(,"context")") != std::string::npos) return false;
    if (it == newest.end() ? item.time != item.wall
                           : item.time >= it->second && item.time != item.wall) {
      return false;
    }
    if (!item.id.empty() && !messages.insert(item.id).second) continue;
    if (it == newest.end()) {
      newest[item.user] = item.time;
    } else {
      it->second = std::max(it->second, item.time);
    }
  }
  return true;
}

Trial Shrink(Trial trial, Difference difference) {
  int left = 3'000;
  const auto fails = [&](const Trial& candidate) {
    return left-- > 0 && Fits(candidate) && !difference(candidate).empty();
  };
  for (bool shrunk = true; shrunk && left > 0;) {
    shrunk = false;
    for (size_t chunk = std::max<size_t>(trial.items.size() / 2, 1); chunk > 0; chunk /= 2) {
      for (size_t i = 0; i + chunk <= trial.items.size();) {
        Trial candidate = trial;
        const auto from = candidate.items.begin() + static_cast<ptrdiff_t>(i);
        candidate.items.erase(from, from + static_cast<ptrdiff_t>(chunk));
        if (fails(candidate)) {
          trial = std::move(candidate);
          shrunk = true;
        } else {
          i += chunk;
        }
      }
    }
    for (const auto& [id, rule] : std::map<std::string, std::string>(trial.rules)) {
      if (id == "all") continue;
      const std::string reference = fmt::format("in_segment: {} ", id);
      const auto refers = [&](const std::string& to) {
        return to.find(reference) != std::string::npos;
      };
      if (std::any_of(trial.rules.begin(), trial.rules.end(),
                      [&](const auto& other) { return refers(other.second); }) ||
          std::any_of(trial.items.begin(), trial.items.end(),
                      [&](const Item& item) { return refers(item.rule); })) {
        continue;
      }
      Trial candidate = trial;
      candidate.rules.erase(id);
      if (fails(candidate)) {
        trial = std::move(candidate);
        shrunk = true;
      }
    }
  }
  return trial;
}

void Check(Shape shape, int cases, Difference difference) {
  spdlog::set_level(spdlog::level::off);
  uint64_t first = 1;
  if (const char* text = std::getenv("SEGMENTD_SEED")) {
    first = std::string_view(text) == "random" ? std::random_device()()
                                               : std::strtoull(text, nullptr, 10);
  }
  if (const char* text = std::getenv("SEGMENTD_CASES")) cases = std::atoi(text);
  ASSERT_GT(cases, 0) << "SEGMENTD_CASES must be a number of trials";
  for (uint64_t seed = first; seed < first + static_cast<uint64_t>(cases); ++seed) {
    const Trial trial = Generator(seed, shape).run();
    if (difference(trial).empty()) continue;
    const Trial small = Shrink(trial, difference);
    FAIL() << "seed " << seed << " (again: SEGMENTD_SEED=" << seed << " SEGMENTD_CASES=1), shrunk\n"
           << Describe(small) << difference(small);
  }
}

TEST(Independence, OfOthersThatFollowNobody) {
  Check({.following = true}, 110, ToldDifferently);
}

TEST(Independence, OfOthersThatFollowOthers) {
  Check({.following = false}, 110, ToldDifferently);
}

TEST(Independence, OfOthersThatFollowThoseUnderTest) {
  Check({.followed = true}, 110, ToldDifferentlyButForCorrections);
}

TEST(Independence, OfTheMomentOfTheBuild) {
  Check({.built_late = true}, 200, OtherMembers);
}

}  // namespace
}  // namespace segmentd::simulation
