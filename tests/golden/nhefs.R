# Reference numbers for weighting and standardisation on NHEFS (Hernan and Robins, "What If", chapters 12 and 13).
# The data are in the Python package causaldata (test extra), not here. In tests/golden:
#   python -c "from causaldata import nhefs_complete as n; n.load_pandas().data.to_csv('/tmp/nhefs.csv', index=False)"
#   Rscript nhefs.R /tmp/nhefs.csv > nhefs.json
# R 4.2.2 with base packages and r-cran-jsonlite alone.
suppressMessages(library(jsonlite))
d <- read.csv(commandArgs(TRUE)[1])
for (name in c("sex", "race", "education", "exercise", "active")) d[[name]] <- factor(d[[name]])
precise <- glm.control(epsilon = 1e-14, maxit = 100)
right <- ~ sex + race + age + I(age^2) + education + smokeintensity + I(smokeintensity^2) + smokeyrs + I(smokeyrs^2) +
  exercise + active + wt71 + I(wt71^2)
odds <- glm(update(right, qsmk ~ .), binomial, d, control = precise)
p <- fitted(odds); share <- mean(d$qsmk)
weight <- ifelse(d$qsmk == 1, share / p, (1 - share) / (1 - p))
# Robust errors of the weighted regression, as a GEE with independent users gives them.
x <- cbind(1, d$qsmk)
b <- solve(crossprod(x, weight * x), crossprod(x, weight * d$wt82_71))
bread <- solve(crossprod(x, weight * x))
robust <- bread %*% crossprod(x * c(weight * (d$wt82_71 - x %*% b))) %*% bread
outcome <- lm(update(right, wt82_71 ~ . + qsmk + qsmk:smokeintensity), d)
had <- function(value) mean(predict(outcome, replace(d, "qsmk", value)))
cat(toJSON(list(unadjusted = unname(coef(lm(wt82_71 ~ qsmk, d))[2]), weighted = b[2], se = sqrt(robust[2, 2]),
  stabilised = list(mean = mean(weight), smallest = min(weight), largest = max(weight)),
  standardised = list(treated = had(1), untreated = had(0))), digits = NA, auto_unbox = TRUE), "\n")
