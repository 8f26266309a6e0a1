#include "bench/workload.h"

#include "absl/strings/str_cat.h"

namespace segmentd::bench {
namespace {

namespace pb = segments::v1;

// SplitMix64 (Steele, Lea, Flood 2014).
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

constexpr int kCategories = 20;

pb::EventCondition Condition(int name, uint64_t pick) {
  pb::EventCondition condition;
  condition.set_event(absl::StrCat("Event ", name));
  auto* category = condition.add_where();
  category->set_property("category");
  category->mutable_equals()->set_string_value(absl::StrCat("c", pick % kCategories));
  if (pick % 3 == 0) {
    auto* amount = condition.add_where();
    amount->set_property("amount");
    amount->mutable_greater_than()->set_number_value(static_cast<double>(pick % 400));
  }
  return condition;
}

}  // namespace

Workload::Workload(int segments, int users, int names, int past) : users_(users), names_(names) {
  for (int i = 0; i < segments; ++i) {
    pb::Segment segment;
    segment.set_id(absl::StrCat("s", i));
    segment.set_name(absl::StrCat("Segment ", i));
    segment.set_version(1);
    const auto pick = [&](uint64_t salt) { return Mix(static_cast<uint64_t>(i) * 97 + salt); };
    const auto name = [&](uint64_t salt) {
      return static_cast<int>(pick(salt) % static_cast<uint64_t>(names));
    };
    pb::Live& live = *segment.mutable_live();
    if (i % 4 < 2) {
      *live.mutable_actions()->add_any_of() = Condition(name(1), pick(2));
    } else if (i % 4 == 2) {
      for (uint64_t t = 0; t < 3; ++t) {
        *live.mutable_actions()->add_any_of() = Condition(name(3 + t), pick(6 + t));
      }
      live.mutable_exit()->set_after("5s");
    } else {
      auto* inaction = live.mutable_inaction();
      *inaction->mutable_trigger() = Condition(name(9), pick(10));
      inaction->add_does_not_do()->set_event(absl::StrCat("Event ", name(11)));
      inaction->set_within("5s");
    }
    segments_.push_back(std::move(segment));
  }
  for (int i = 0; i < past; ++i) {
    pb::Segment& segment = segments_.emplace_back();
    segment.set_id(absl::StrCat("past", i));
    segment.set_name(absl::StrCat("Past ", i));
    segment.set_version(1);
    const auto pick = [&](uint64_t salt) { return Mix(static_cast<uint64_t>(i) * 89 + salt); };
    const auto did = [&](uint64_t salt, bool where, pb::Did* out) {
      const auto name = static_cast<int>(pick(salt) % static_cast<uint64_t>(names));
      const pb::EventCondition condition = Condition(name, pick(salt + 1));
      out->set_event(condition.event());
      if (where) *out->mutable_where() = condition.where();
      out->set_within_last("30d");
    };
    pb::Expression& rule = *segment.mutable_past_behavior();
    switch (i % 4) {
      case 0:
        did(1, /*where=*/false, rule.mutable_did());
        rule.mutable_did()->mutable_count()->set_at_least(2 + static_cast<double>(pick(3) % 4));
        break;
      case 1:
        did(1, /*where=*/true, rule.add_all_of()->mutable_did());
        did(5, /*where=*/true, rule.add_all_of()->mutable_did_not());
        break;
      case 2:
        did(1, /*where=*/true, rule.mutable_did());
        rule.mutable_did()->mutable_sum()->set_property("amount");
        rule.mutable_did()->mutable_sum()->set_greater_than(1000);
        break;
      default:
        did(1, /*where=*/true, rule.add_any_of()->mutable_did());
        did(5, /*where=*/true, rule.add_any_of()->mutable_did());
        rule.mutable_any_of(1)->mutable_did()->set_first_time(true);
    }
  }
}

uint64_t Workload::random(int64_t i, uint64_t salt) const {
  return Mix(static_cast<uint64_t>(i) * 1000003 + salt);
}

std::string Workload::user(int64_t i) const {
  return absl::StrCat("user-", random(i, 1) % static_cast<uint64_t>(users_));
}

void Workload::fill(int64_t i, std::string* name, std::string* category, double* amount,
                    size_t* user) const {
  *name = absl::StrCat("Event ", random(i, 2) % static_cast<uint64_t>(names_));
  *category = absl::StrCat("c", random(i, 3) % kCategories);
  *amount = static_cast<double>(random(i, 4) % 1000);
  *user = random(i, 1) % static_cast<uint64_t>(users_);
}

void Workload::append_event(int64_t i, int64_t time_ms, std::string* out) const {
  absl::StrAppend(out, R"({"type":"track","messageId":"m-)", i, R"(","userId":")", user(i),
                  R"(","event":"Event )", random(i, 2) % static_cast<uint64_t>(names_),
                  R"(","timestamp":)", time_ms, R"(,"properties":{"category":"c)",
                  random(i, 3) % kCategories, R"(","amount":)", random(i, 4) % 1000,
                  R"(,"currency":"EUR","sku":"sku-)", random(i, 5) % 5000, R"(","quantity":)",
                  random(i, 6) % 9 + 1, "}}");
}

}  // namespace segmentd::bench
