# Reference numbers for clocks that do not start with the first event, made with R 4.2.2 and survival 3.5-3:
#   Rscript clocks.R > clocks.json   (in this folder)
# Late entry: heart patients from the transplant on, aged from acceptance. Repeats: gap times of bladder tumours by
# patient, each tumour starting the clock anew, errors by patient.
suppressMessages(library(survival))
number <- function(x) paste0("[", paste(ifelse(is.na(x), "null", formatC(x, digits = 15, format = "g")), collapse = ", "), "]")
curve <- function(fit, times) {
  s <- summary(fit, times = times, extend = TRUE)
  sprintf('{"time": %s, "survival": %s, "se": %s, "lower": %s, "upper": %s}', number(s$time), number(s$surv),
          number(s$std.err), number(s$lower), number(s$upper))
}
late <- subset(heart, transplant == 1)
fit <- survfit(Surv(start, stop, event) ~ 1, data = late, conf.type = "log-log")
b <- subset(bladder2, TRUE)
b$gap <- b$stop - b$start
robust <- survfit(Surv(gap, event) ~ 1, data = b, cluster = id, robust = TRUE, conf.type = "log-log")
first <- survfit(Surv(gap, event) ~ 1, data = subset(b, enum == 1), conf.type = "log-log")
cat(sprintf('{\n"late": %s,\n"heart": {"start": %s, "stop": %s, "event": %s},\n"each": %s,\n"first": %s,\n"bladder": {"id": %s, "start": %s, "stop": %s, "event": %s}\n}\n',
            curve(fit, c(10, 50, 100, 300, 900, 1500)), number(late$start), number(late$stop), number(late$event),
            curve(robust, c(1, 3, 6, 12, 24, 40)), curve(first, c(1, 3, 6, 12, 24, 40)),
            number(b$id), number(b$start), number(b$stop), number(b$event)))
