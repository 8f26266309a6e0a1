#include "segment/matcher.h"

#include <map>
#include <set>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "segment/rule_set.h"
#include "tests/unit/small_engine.h"

namespace segmentd {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class MatcherTest : public testing::Test {
 protected:
  // A segment in slot 0, 1, … for each condition.
  void triggers(const std::vector<std::string>& conditions) {
    std::vector<ActiveSegment> segments;
    for (const std::string& condition : conditions) {
      const auto slot = static_cast<Slot>(segments.size());
      segments.push_back({.slot = slot,
                          .segment = FromYaml("{ name: S, live: { actions: { any_of: [ " +
                                              condition + " ] } } }")});
    }
    compile(std::move(segments));
  }

  void compile(std::vector<ActiveSegment> segments) {
    auto rules = RuleSet::Compile(std::move(segments));
    ASSERT_TRUE(rules.ok()) << rules.status();
    rules_ = *rules;
    matcher_ = std::make_unique<Matcher>(rules_->compiled());
  }

  // The slots whose conditions the event meets.
  std::vector<Slot> match(std::string_view name, const std::map<std::string, Value>& properties) {
    std::vector<EventProperty> known;
    for (FieldIndex field = 0; field < rules_->fields().size(); ++field) {
      const auto at = properties.find(rules_->fields().path(field));
      if (at != properties.end()) known.push_back({field, at->second});
    }
    matcher_->match({.name = name, .time = At("10:00"), .properties = known});
    std::vector<Slot> slots;
    for (const Hit& hit : matcher_->hits()) {
      for (const Subscription& s : rules_->compiled().atoms[hit.atom].subscriptions) {
        slots.push_back(s.slot);
      }
    }
    std::sort(slots.begin(), slots.end());
    return slots;
  }

  std::shared_ptr<const RuleSet> rules_;
  std::unique_ptr<Matcher> matcher_;
};

TEST_F(MatcherTest, TheNameLeadsToTheConditions) {
  triggers({"{ event: A }", "{ event: B }", "{ event: A, where: [ { property: n, equals: 1 } ] }"});
  EXPECT_THAT(match("A", {}), ElementsAre(0));
  EXPECT_THAT(match("A", {{"n", Value::Number(1)}}), ElementsAre(0, 2));
  EXPECT_THAT(match("B", {{"n", Value::Number(1)}}), ElementsAre(1));
  EXPECT_THAT(match("C", {}), IsEmpty());
  EXPECT_THAT(match("a", {}), IsEmpty());
}

TEST_F(MatcherTest, AllTestsOfAConditionMustHold) {
  triggers({"{ event: A, where: [ { property: n, at_least: 1 }, { property: c, equals: x } ] }"});
  EXPECT_THAT(match("A", {{"n", Value::Number(1)}, {"c", Value::String("x")}}), ElementsAre(0));
  EXPECT_THAT(match("A", {{"n", Value::Number(0)}, {"c", Value::String("x")}}), IsEmpty());
  EXPECT_THAT(match("A", {{"n", Value::Number(1)}, {"c", Value::String("y")}}), IsEmpty());
  EXPECT_THAT(match("A", {{"n", Value::Number(1)}}), IsEmpty());
}

TEST_F(MatcherTest, AnEqualityIsLookedUpByValue) {
  std::vector<std::string> conditions;
  conditions.reserve(101);
  for (int i = 0; i < 100; ++i) {
    conditions.push_back("{ event: A, where: [ { property: n, equals: " + std::to_string(i) +
                         " } ] }");
  }
  conditions.emplace_back("{ event: A, where: [ { property: n, in: [ 7, x ] } ] }");
  triggers(conditions);
  EXPECT_THAT(match("A", {{"n", Value::Number(7)}}), ElementsAre(7, 100));
  EXPECT_THAT(match("A", {{"n", Value::Number(-0.0)}}), ElementsAre(0));
  EXPECT_THAT(match("A", {{"n", Value::String("x")}}), ElementsAre(100));
  EXPECT_THAT(match("A", {{"n", Value::String("7")}}), IsEmpty());
  EXPECT_THAT(match("A", {}), IsEmpty());
}

TEST_F(MatcherTest, AnyElementOfAListMeetsAnEquality) {
  triggers({"{ event: A, where: [ { property: tags, in: [ x, y ] } ] }",
            "{ event: A, where: [ { property: tags, equals: z } ] }"});
  const std::vector<Value> both = {Value::String("x"), Value::String("y")};
  EXPECT_THAT(match("A", {{"tags", Value::List(both)}}), ElementsAre(0)) << "once";
  const std::vector<Value> all = {Value::String("z"), Value::String("q"), Value::String("y")};
  EXPECT_THAT(match("A", {{"tags", Value::List(all)}}), ElementsAre(0, 1));
  EXPECT_THAT(match("A", {{"tags", Value::List({})}}), IsEmpty());
}

TEST_F(MatcherTest, NothingIsLeftOfTheEventBefore) {
  triggers({"{ event: A, where: [ { property: n, exists: true } ] }",
            "{ event: A, where: [ { property: n, exists: false } ] }"});
  EXPECT_THAT(match("A", {{"n", Value::Number(1)}}), ElementsAre(0));
  EXPECT_THAT(match("A", {}), ElementsAre(1));
  EXPECT_THAT(match("C", {}), IsEmpty());
}

TEST_F(MatcherTest, AHitCarriesTheValueThatItsSegmentNeeds) {
  compile({{.segment = FromYaml("{ name: S, live: { inaction: { trigger: { event: A }, "
                                "does_not_do: [ { event: B } ], within: 1m, match: cart } } }")}});
  match("A", {{"cart", Value::String("c")}});
  ASSERT_EQ(matcher_->hits().size(), 1u);
  EXPECT_EQ(matcher_->hits()[0].value, ValueFingerprint(Value::String("c")));
  match("A", {});
  ASSERT_EQ(matcher_->hits().size(), 1u);
  EXPECT_EQ(matcher_->hits()[0].value, 0u);
}

TEST_F(MatcherTest, ExternalMeansAnotherHost) {
  compile({{.segment = FromYaml("{ name: S, live: { referrer: { url: { exists: true } } } }")}});
  const auto external = [&](std::string_view referrer, std::string_view url) {
    match(kPageViewed, {{"referrer", Value::String(referrer)}, {"url", Value::String(url)}});
    for (const Hit& hit : matcher_->hits()) {
      const auto& subscriptions = rules_->compiled().atoms[hit.atom].subscriptions;
      if (subscriptions[0].roles & kTriggers) return true;
    }
    return false;
  };
  const char* const kHere = "https://www.shop.example/a";
  EXPECT_TRUE(external("https://partner.example/", kHere));
  EXPECT_FALSE(external("https://shop.example", kHere));
  EXPECT_FALSE(external("http://WWW.SHOP.example:8080/?q#f", kHere));
  EXPECT_FALSE(external("//shop.example/x", kHere));
  EXPECT_FALSE(external("https://user:secret@shop.example/x", kHere));
  EXPECT_TRUE(external("https://blog.shop.example/x", kHere));
  EXPECT_TRUE(external("https://shop.example.evil.example/", kHere));
  EXPECT_TRUE(external("https://partner.example/?to=https://shop.example/", kHere));
  EXPECT_FALSE(external("", kHere));
  EXPECT_FALSE(external("shop", kHere));
  EXPECT_FALSE(external("about:blank", kHere));
  EXPECT_TRUE(external("https://partner.example/", ""));
  EXPECT_FALSE(external("http://[::1]:80/", "http://[::1]:90/"));
}

}  // namespace
}  // namespace segmentd
