"""The levelset service: HTTP inference, durable evaluation jobs, reports and pages."""
